#include "cli/engine_flags.h"

#include <algorithm>
#include <array>
#include <numeric>

namespace varve::cli {

void EngineFlags::add_to(CLI::App& verb) {
  verb.add_option("MODEL", model,
                  "Model directory (config.json + safetensors); default: the bundled model");
  verb.add_option("--ctx", ctx, "Tokens of context to make room for; default: what the job needs");
  verb.add_option("--threads", threads, "Threads; default: one per usable core");
  verb.add_option("--chunk", chunk, "Tokens read in one step of prefill")->capture_default_str();
  verb.add_option("--numerics", numerics, "Rows of the cache: 'reference' keeps f32 rows")
      ->capture_default_str();
  verb.add_option("--products", products,
                  "Inputs of products: 'f32' as they are, 'bf16' rounded (sums are f32)");
}

Result<EngineOptions> EngineFlags::options() const {
  EngineOptions options;
  if (numerics == "native") {
    return usage_error("--numerics native: this version has no native rows; it has 'reference'");
  }
  if (numerics != "reference") {
    return usage_error("--numerics {}: expected 'reference'", numerics);
  }
  if (products.empty() || products == "f32") {
    options.products = Products::f32;
  } else if (products == "bf16") {
    options.products = Products::bf16;
  } else {
    return usage_error("--products {}: expected 'f32' or 'bf16'", products);
  }
  if (ctx < 0) return usage_error("--ctx {}: expected at least 1 token", ctx);
  if (threads < 0) return usage_error("--threads {}: expected at least 1", threads);
  options.ctx_tokens = ctx;
  options.n_threads = threads;
  options.chunk_tokens = chunk;
  VARVE_TRY(options.kernels, select_kernels_from_environment());
  return options;
}

std::string human_bytes(double bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.2f} {}", bytes, kUnits[unit]);
}

std::string time_shares(const PartTimes& times) {
  std::array<int, kNumParts> order;
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int a, int b) { return times.seconds[a] > times.seconds[b]; });
  const double total = std::accumulate(std::begin(times.seconds), std::end(times.seconds), 0.0);
  std::string text;
  for (const int part : order) {
    const double share = total > 0 ? times.seconds[part] / total : 0;
    if (share < 0.01) break;
    text += fmt::format("{}{} {:.0f} %", text.empty() ? "" : ", ",
                        part_name(static_cast<Part>(part)), share * 100);
  }
  return text;
}

}  // namespace varve::cli
