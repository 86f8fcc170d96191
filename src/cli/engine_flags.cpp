#include "cli/engine_flags.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <limits>
#include <map>
#include <numeric>
#include <span>
#include <utility>

#include "base/cpu.h"
#include "cli/profile_file.h"
#include "cli/progress.h"
#include "plan/machine.h"

namespace varve::cli {
namespace {

// Of time_shares: what fits a line of 80 columns.
constexpr size_t kShownParts = 3;

// --weights auto copies where the copy and the arena take at most one part in so many of the memory
// that is available.
constexpr size_t kRoomyMemoryShare = 2;

// "window, csa, ...": those for which `wanted` holds.
template <class Wanted>
std::string pool_names(Wanted wanted) {
  std::string names;
  for (const PoolInfo& info : pools()) {
    if (wanted(info)) names += fmt::format("{}{}", names.empty() ? "" : ", ", info.name);
  }
  return names;
}

// "f32, bf16, ...": those for which `wanted` holds.
template <class Wanted>
std::string format_names(Wanted wanted) {
  std::string names;
  for (const RowFormatInfo& info : row_formats()) {
    if (wanted(info.format)) names += fmt::format("{}{}", names.empty() ? "" : ", ", info.name);
  }
  return names;
}

bool has_whole_files(const Model& model) {
  if (model.weight_source() != WeightSource::files) return false;
  const std::vector<std::string>& files = model.checkpoint().files();
  const auto ranges = model.checkpoint().mapped_ranges();
  for (size_t i = 0; i < files.size(); ++i) {
    std::error_code error;
    if (std::filesystem::file_size(files[i], error) < ranges[i].size() || error) return false;
  }
  return true;
}

// Applies "pool=format,pool=format": `all` first where it is there, each pool once.
Result<void> apply_kv(const std::string& text, PoolFormats& formats) {
  std::map<std::string, RowFormat> named;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string item = text.substr(begin, end - begin);
    begin = end + 1;
    const size_t equals = item.find('=');
    const auto format =
        equals == std::string::npos ? std::nullopt : row_format_from_name(item.substr(equals + 1));
    if (!format) {
      return usage_error("--kv {}: expected POOL=FORMAT with a format of {}", item,
                         format_names([](RowFormat) { return true; }));
    }
    const std::string pool = item.substr(0, equals);
    const auto [before, is_new] = named.emplace(pool, *format);
    if (before->second != *format) {
      return usage_error("--kv {}: {} cannot be both {} and {}", text, pool,
                         row_format_name(before->second), row_format_name(*format));
    }
    if (pool == "all") {
      if (is_new && named.size() > 1) {
        return usage_error("--kv {}: {} would undo what stands before it; expected it first", text,
                           item);
      }
      for (const PoolInfo& info : pools()) {
        if (info.pool == Pool::index && is_quantized(*format)) continue;
        formats.*(info.format) = PoolFormats::all(*format).of(info.pool);
      }
      continue;
    }
    const auto info = std::find_if(pools().begin(), pools().end(),
                                   [&](const PoolInfo& known) { return known.name == pool; });
    if (info == pools().end()) {
      return usage_error("--kv {}: expected a pool of {}, all", item,
                         pool_names([](const PoolInfo&) { return true; }));
    }
    if (!pool_takes(info->pool, *format)) {
      return usage_error(
          "--kv {}: {} are kept as one of {}", item, info->label,
          format_names([&](RowFormat known) { return pool_takes(info->pool, known); }));
    }
    formats.*(info->format) = *format;
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Model>> load_in_place_of(std::shared_ptr<const Model> shapes,
                                                const std::string& path) {
  shapes.reset();
  auto model = load_model(path);
  release_free_memory();
  return model;
}

Result<std::unique_ptr<Model>> EngineFlags::open_shapes(const std::string& path) const {
  auto shapes = load_shapes(path);
  // Of what is not there, who reads it all says the most.
  if (!shapes || !has_whole_files(**shapes)) shapes = load_model(path);
  if (shapes) VARVE_CHECKED(check_pools(**shapes));
  return shapes;
}

Result<void> EngineFlags::check_pools(const Model& loaded) const {
  const CacheLayout layout(loaded.cache_shape(), {});
  for (const PoolInfo& info : pools()) {
    const std::string item = fmt::format("{}=", info.name);
    const bool named = kv.starts_with(item) || kv.find("," + item) != std::string::npos;
    if (!named || layout.has(info.pool)) continue;
    return usage_error("--kv {}: expected a pool that the model has: {}", kv,
                       pool_names([&](const PoolInfo& one) { return layout.has(one.pool); }));
  }
  return {};
}

Result<std::string> EngineFlags::place_weights(Model& loaded, size_t arena_bytes) const {
  const bool roomy = loaded.checkpoint().mapped_bytes() + arena_bytes <=
                     available_memory_bytes() / kRoomyMemoryShare;
  if (weights == "mapped" || (weights == "auto" && !roomy)) return std::string("mapped");
  constexpr double kMiB = 1 << 20;
  Progress progress("weights", static_cast<double>(loaded.checkpoint().mapped_bytes()) / kMiB,
                    "MiB");
  double done = 0;
  VARVE_CHECKED(loaded.copy_weights([&](size_t n) {
    done += static_cast<double>(n);
    progress.update(done / kMiB);
  }));
  return std::string("copied");
}

ProcessBytes process_beside(const Model& model, const EngineOptions& options,
                            const Tokenizer* tokenizer) {
  const int n_threads = options.n_threads > 0 ? options.n_threads : usable_cores();
  return tokenizer == nullptr ? process_bytes_without_text(model, n_threads)
                              : process_bytes(model, tokenizer, n_threads);
}

Result<EngineOptions> EngineFlags::fit(const Model& loaded, const EngineOptions& options,
                                       const Tokenizer* tokenizer, int least_ctx_tokens) const {
  VARVE_TRY(const Wall wall, Wall::parse(memory));
  ProcessBytes process = process_beside(loaded, options, tokenizer);
  process.heap += beside_bytes;
  return fit_within(loaded, options, process, wall, least_ctx_tokens);
}

Result<EngineOptions> EngineFlags::bounded(const Model& loaded,
                                           const EngineOptions& options) const {
  VARVE_TRY(const Wall wall, Wall::parse(memory));
  const ProcessBytes process = process_beside(loaded, options, nullptr);
  const auto within = options_within(loaded, options, process, wall.memory_bytes);
  if (within) return *within;
  const auto text = [](size_t bytes) { return human_bytes(static_cast<double>(bytes)); };
  return usage_error("--memory {}: weights take {} and the process {}; {} are there in all", memory,
                     text(loaded.weight_bytes() + loaded.vector_bytes()), text(process.total()),
                     text(wall.memory_bytes));
}

std::optional<RowFormat> common_format(const CacheLayout& layout) {
  std::optional<RowFormat> common;
  for (const PoolInfo& info : pools()) {
    if (!layout.has(info.pool)) continue;
    const RowFormat format = layout.formats.of(info.pool);
    if (common && *common != format) return std::nullopt;
    common = format;
  }
  return common;
}

std::string describe_formats(const CacheLayout& layout) {
  if (const auto common = common_format(layout)) {
    return fmt::format("{} rows", row_format_name(*common));
  }
  std::string text;
  for (const PoolInfo& info : pools()) {
    if (!layout.has(info.pool)) continue;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", info.name,
                        row_format_name(layout.formats.of(info.pool)));
  }
  return text;
}

std::string describe_attention(const Kernels& kernels, const CacheLayout& layout,
                               Products products) {
  const PoolFormats& formats = layout.formats;
  const auto [keys, values] = kernels.kv_dots(formats.k, formats.v, products);
  std::vector<std::pair<RowDots, std::string>> found;  // pools by what they come down to
  for (const PoolInfo& info : pools()) {
    if (!layout.has(info.pool) || info.pool == Pool::index) continue;
    const RowDots dots = info.pool == Pool::k   ? keys
                         : info.pool == Pool::v ? values
                                                : kernels.row_dots(formats.of(info.pool), products);
    const auto same = std::find_if(found.begin(), found.end(),
                                   [&](const auto& known) { return known.first == dots; });
    if (same == found.end()) {
      found.emplace_back(dots, info.name);
    } else {
      same->second += fmt::format(" {}", info.name);
    }
  }
  std::string text;
  for (const auto& [dots, names] : found) {
    text += fmt::format("{}{}", text.empty() ? "attention by " : ", ", row_dots_name(dots));
    if (found.size() > 1) text += fmt::format(" ({})", names);
  }
  return text;
}

nlohmann::ordered_json formats_object(const CacheLayout& layout) {
  nlohmann::ordered_json out = nlohmann::ordered_json::object();
  for (const PoolInfo& info : pools()) {
    if (!layout.has(info.pool)) continue;
    out[std::string(info.name)] = row_format_name(layout.formats.of(info.pool));
  }
  return out;
}

std::string_view products_name(Products products) {
  return products == Products::f32 ? "f32" : "bf16";
}

void EngineFlags::add_to(CLI::App& verb) {
  verb.add_option("MODEL", model,
                  "Model directory (config.json + safetensors) or GGUF file (of a split one the\n"
                  "first part); default: the bundled model");
  // Before all flags that it may give: their values are taken in this order.
  verb.add_option_function<std::string>(
          "--profile",
          [this, &verb](const std::string& file) {
            profile = file;
            if (file.empty()) return;
            const auto applied = apply_profile(file, verb, profile_keys);
            if (!applied)
              throw CLI::ParseError(applied.error().message, exit_code(applied.error()));
          },
          "File of settings that `varve tune` wrote; flags given here go first")
      ->type_name("FILE");
  const size_t n_before = verb.get_options().size();
  verb.add_option("--ctx", ctx, "Tokens of context to make room for; default: what the job needs");
  verb.add_option("--threads", threads, "Threads; default: one per usable core");
  verb.add_option("--chunk", chunk,
                  fmt::format("Tokens read in one step of prefill; default: up to 512, as many\n"
                              "as keep scratch within {} MiB",
                              kMaxAutoScratchBytes >> 20));
  verb.add_option("--memory", memory,
                  "Memory that the run may take, weights and all: bytes, or with\n"
                  "K M G T (KiB MiB..., of 1024); 'auto': what the machine and the\n"
                  "cgroup have free, less an eighth or 64 MiB")
      ->capture_default_str();
  verb.add_option("--kv-memory", kv_memory,
                  "Of that, budget of cache, scratch and logits, likewise;\n"
                  "'auto': what the job needs")
      ->capture_default_str();
  verb.add_option("--weights", weights,
                  "'mapped': read where the files lie, pages shared and given back\n"
                  "under pressure; 'copied': into memory, on large pages: faster;\n"
                  "'auto': copied where that and the arena take at most half of\n"
                  "the memory that is available")
      ->capture_default_str();
  verb.add_option("--numerics", numerics,
                  "'native': rows as in production (FP8, FP4 index) and bf16\n"
                  "products; 'reference': f32 rows and f32 products")
      ->capture_default_str();
  verb.add_option("--products", products,
                  "Inputs of products: 'f32' as they are, 'bf16' rounded (sums are f32)");
  verb.add_option("--kv", kv,
                  "Row formats by pool, e.g. k=q8_0,v=q4_0 or csa=native,index=f32;\n"
                  "pools: window csa hca index latent k v all; formats: f32 bf16 f16\n"
                  "native (not of k, v), q8_0 q5_1 q5_0 q4_1 q4_0 fp8 mxfp4 (not of\n"
                  "index)");
  verb.add_option("--kv-sink", kv_sink,
                  "First tokens whose keys, values or latents stay bf16 where their\n"
                  "pool is quantised")
      ->check(CLI::Range(0, kMaxSinkTokens))
      ->capture_default_str();
  verb.add_option("--kv-recent", kv_recent, "Newest tokens that each query sees as bf16, likewise")
      ->check(CLI::Range(0, kMaxRecentTokens))
      ->capture_default_str();
  verb.add_option("--kv-rotate", kv_rotate,
                  "Turn quantised keys, values and latents by a Hadamard matrix:\n"
                  "'auto' (formats of up to 5 bits), 'on', 'off'")
      ->capture_default_str();
  const std::vector<const CLI::Option*> options = std::as_const(verb).get_options();
  for (size_t i = n_before; i < options.size(); ++i) {
    profile_keys.push_back(options[i]->get_lnames().front());
  }
}

Result<EngineOptions> EngineFlags::options() const {
  EngineOptions options;
  const bool native = numerics == "native";
  if (!native && numerics != "reference") {
    return usage_error("--numerics {}: expected 'native' or 'reference'", numerics);
  }
  options.formats = PoolFormats::all(native ? RowFormat::native : RowFormat::f32);
  VARVE_CHECKED(apply_kv(kv, options.formats));
  options.formats.sink_tokens = kv_sink;
  options.formats.recent_tokens = kv_recent;
  if (kv_rotate == "on") {
    options.formats.rotation = Rotation::on;
  } else if (kv_rotate == "off") {
    options.formats.rotation = Rotation::off;
  } else if (kv_rotate != "auto") {
    return usage_error("--kv-rotate {}: expected 'auto', 'on' or 'off'", kv_rotate);
  }
  options.products = native ? Products::bf16 : Products::f32;
  if (products == "f32") {
    options.products = Products::f32;
  } else if (products == "bf16") {
    options.products = Products::bf16;
  } else if (!products.empty()) {
    return usage_error("--products {}: expected 'f32' or 'bf16'", products);
  }
  if (weights != "auto" && weights != "mapped" && weights != "copied") {
    return usage_error("--weights {}: expected 'auto', 'mapped' or 'copied'", weights);
  }
  VARVE_CHECKED(Wall::parse(memory));
  if (ctx < 0) return usage_error("--ctx {}: expected at least 1 token", ctx);
  if (threads < 0) return usage_error("--threads {}: expected at least 1", threads);
  options.ctx_tokens = ctx;
  options.n_threads = threads;
  if (chunk && *chunk < 1) return usage_error("--chunk {}: expected 1 to 65536 tokens", *chunk);
  options.chunk_tokens = chunk.value_or(0);
  if (kv_memory != "auto") {
    VARVE_TRY(options.arena_budget_bytes, parse_bytes("--kv-memory", kv_memory));
  }
  VARVE_TRY(options.kernels, select_kernels_from_environment());
  return options;
}

std::string time_shares(const PartTimes& times) {
  std::array<int, kNumParts> order;
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int a, int b) { return times.seconds[a] > times.seconds[b]; });
  const double total = std::accumulate(std::begin(times.seconds), std::end(times.seconds), 0.0);
  std::string text;
  double others = total;
  for (const int part : std::span(order).first(kShownParts)) {
    const double share = total > 0 ? times.seconds[part] / total : 0;
    if (share < 0.01) break;
    others -= times.seconds[part];
    text += fmt::format("{}{} {:.0f} %", text.empty() ? "" : ", ",
                        part_name(static_cast<Part>(part)), share * 100);
  }
  if (total > 0 && others / total >= 0.005) {
    text += fmt::format(", others {:.0f} %", others / total * 100);
  }
  return text;
}

}  // namespace varve::cli
