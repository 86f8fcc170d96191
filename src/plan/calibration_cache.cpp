#include "plan/calibration_cache.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "base/cpu.h"
#include "plan/comparison.h"

namespace varve {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr std::string_view kSchema = "varve.calibrations/2";
constexpr size_t kMostEntries = 200;  // the oldest go
constexpr double kSecondsPerDay = 86400;

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// ---- calibrations as arrays of numbers

std::vector<double> numbers_of(const StepTimes& s) {
  return {static_cast<double>(s.n_tokens),
          s.weights,
          s.other,
          s.attention.fixed,
          s.attention.per_mac,
          s.index.fixed,
          s.index.per_mac};
}

std::vector<double> numbers_of(const Calibration& c) {
  std::vector<double> all = {c.roofs.read_bytes_per_s, c.roofs.f32_macs_per_s,
                             c.roofs.bf16_macs_per_s, c.roofs.int8_macs_per_s, c.waited_share};
  for (const StepTimes* step : {&c.decode, &c.chunk}) {
    const std::vector<double> more = numbers_of(*step);
    all.insert(all.end(), more.begin(), more.end());
  }
  return all;
}

StepTimes step_of(const double* n) {
  return {static_cast<int>(n[0]), n[1], n[2], {n[3], n[4]}, {n[5], n[6]}};
}

constexpr size_t kStepNumbers = 7, kFirstNumbers = 5;

std::optional<Calibration> calibration_of(const std::vector<double>& n) {
  if (n.size() != kFirstNumbers + 2 * kStepNumbers) return std::nullopt;
  for (const double number : n) {
    if (!std::isfinite(number) || number < 0 || number > 1e18) return std::nullopt;
  }
  return Calibration{{n[0], n[1], n[2], n[3]},
                     step_of(n.data() + kFirstNumbers),
                     step_of(n.data() + kFirstNumbers + kStepNumbers),
                     n[4]};
}

}  // namespace

std::string calibration_key(const Model& shapes, const EngineOptions& options) {
  std::string key =
      fmt::format("{} x{} {} {} chunk {};", cpu_name(), options.n_threads, options.kernels->name,
                  options.products == Products::bf16 ? "bf16" : "f32", options.chunk_tokens);
  std::map<std::tuple<std::string_view, int, int>, double> matrices;
  shapes.visit_weights([&](const Weight& w, double share) {
    matrices[{dtype_name(w.type), w.n_rows, w.n_cols}] += share;
  });
  for (const auto& [matrix, n] : matrices) {
    const auto& [type, rows, cols] = matrix;
    key += fmt::format(" {}*{}[{},{}]", n, type, rows, cols);
  }
  std::map<std::string, int> layers;
  for (const LayerAttention& a : own_attention(shapes, options.formats).layers) {
    ++layers[fmt::format("{},{},{},{},{},{},{},{}", a.n_heads, a.key_dim, a.value_dim, a.window,
                         a.ratio, a.topk, a.index_n_heads, a.index_dim)];
  }
  for (const auto& [layer, n] : layers) key += fmt::format(" {}*({})", n, layer);
  const CacheLayout layout(shapes.cache_shape(), options.formats);
  for (const PoolInfo& info : pools()) {
    if (!layout.has(info.pool)) continue;
    key += fmt::format(" {}={}", info.name, row_format_name(options.formats.of(info.pool)));
  }
  return key + fmt::format(" {:.2f} B/token, sinks {}, recent {}, of {}", layout.bytes_per_token(),
                           options.formats.sink_tokens, options.formats.recent_tokens,
                           shapes.max_position());
}

std::string CalibrationCache::default_directory() {
  const char* const xdg = std::getenv("XDG_CACHE_HOME");
  if (xdg != nullptr && *xdg != '\0') return (fs::path(xdg) / "varve").string();
  const char* const home = std::getenv("HOME");
  if (home == nullptr || *home == '\0') return "";
  return (fs::path(home) / ".cache" / "varve").string();
}

CalibrationCache::CalibrationCache(std::string directory) {
  if (directory.empty()) return;
  file_ = (fs::path(directory) / "calibrations.json").string();
  std::ifstream in(file_);
  const Json all = Json::parse(in, nullptr, false);
  if (!all.is_object() || all.value("schema", Json()) != kSchema) return;
  const Json entries = all.value("entries", Json::array());
  if (!entries.is_array()) return;
  for (const Json& entry : entries) {
    if (!entry.is_object() || !entry.value("key", Json()).is_string() ||
        !entry.value("made", Json()).is_number() || !entry.value("numbers", Json()).is_array()) {
      continue;
    }
    std::vector<double> numbers;
    for (const Json& number : entry["numbers"]) {
      if (number.is_number()) numbers.push_back(number.get<double>());
    }
    const auto calibration = calibration_of(numbers);
    if (!calibration) continue;
    entries_.push_back(
        {entry["key"].get<std::string>(), entry["made"].get<double>(), *calibration});
  }
}

const Calibration* CalibrationCache::find(const std::string& key, double* age_days) const {
  const auto at = std::find_if(entries_.begin(), entries_.end(),
                               [&](const Entry& entry) { return entry.key == key; });
  if (at == entries_.end()) return nullptr;
  if (age_days != nullptr) *age_days = std::max(0.0, now() - at->made) / kSecondsPerDay;
  return &at->calibration;
}

void CalibrationCache::insert(const std::string& key, const Calibration& calibration) {
  std::erase_if(entries_, [&](const Entry& entry) { return entry.key == key; });
  entries_.push_back({key, now(), calibration});
  if (entries_.size() > kMostEntries) entries_.erase(entries_.begin());
  if (file_.empty()) return;
  Json entries = Json::array();
  for (const Entry& entry : entries_) {
    entries.push_back(
        {{"key", entry.key}, {"made", entry.made}, {"numbers", numbers_of(entry.calibration)}});
  }
  std::error_code ignored;
  fs::create_directories(fs::path(file_).parent_path(), ignored);
  // Whoever reads meanwhile finds the old file or the new one.
  const std::string part = fmt::format("{}.{}", file_, getpid());
  std::ofstream out(part, std::ios::trunc);
  out << Json{{"schema", kSchema}, {"entries", entries}}.dump(1, ' ', false,
                                                              Json::error_handler_t::replace);
  out.close();
  if (out) {
    fs::rename(part, file_, ignored);
  } else {
    fs::remove(part, ignored);
  }
}

}  // namespace varve
