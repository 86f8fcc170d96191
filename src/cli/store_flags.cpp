#include "cli/store_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/cpu.h"
#include "cli/engine_flags.h"
#include "cli/model_path.h"
#include "cli/progress.h"
#include "models/fingerprint.h"

namespace varve::cli {
namespace {

// Values that wait to be written: at least some, so that a prefill's blocks seldom find it full.
constexpr size_t kLeastQueueBytes = size_t{16} << 20;
constexpr size_t kQueuedValues = 8;

// By default resume points on disk take a fiftieth of what blocks take, and those of turns' ends.
constexpr double kBlocksPerPointBytes = 50;
constexpr int kMostInterval = 1 << 30;

}  // namespace

void StoreFlags::add_to(CLI::App& verb) {
  verb.add_option("--store", directory,
                  "Directory to keep the cache in: prompts that begin like earlier ones are\n"
                  "not read again, after a restart neither; made if it is not there");
  verb.add_option("--store-budget", budget, "Bytes that it may take on disk, or with K M G T")
      ->capture_default_str();
  verb.add_option("--resume", resume,
                  "Where one can go on without reading tokens again: 'full': every 128\n"
                  "tokens; a number: every so many; 'zero': nowhere, windows are made\n"
                  "anew from what blocks hold; 'auto': every 4096 tokens, on disk as far\n"
                  "apart as they take a fiftieth of it; and at the end of each turn, but\n"
                  "for 'zero'")
      ->capture_default_str();
}

Result<void> StoreFlags::apply(const Model& shapes, EngineOptions& options) const {
  VARVE_CHECKED(parse_bytes("--store-budget", budget));
  const CacheLayout layout(shapes.cache_shape(), options.formats);
  if (resume == "auto") {
    // Those points lie where blocks end.
    const size_t bytes = bytes_in(layout.detail_ranges(kBlockTokens), layout.detail_bytes);
    const double tokens =
        kBlocksPerPointBytes * static_cast<double>(bytes) / std::max(1.0, layout.bytes_per_token());
    options.store_interval_tokens = std::max(
        options.resume_interval_tokens, static_cast<int>(std::min<double>(tokens, kMostInterval)));
    return {};
  }
  if (resume == "zero") {
    if (layout.keeps_detail() && !layout.replay_tokens()) {
      return usage_error(
          "--resume zero: quantised rows whose first tokens stay bf16 (--kv-sink, --kv-recent) "
          "cannot be made anew from blocks");
    }
    options.resume_points = 0;
    return {};
  }
  int interval = kBlockTokens;
  const char* const end = resume.data() + resume.size();
  const auto [rest, error] = std::from_chars(resume.data(), end, interval);
  if (resume != "full" && (error != std::errc() || rest != end || interval < 1)) {
    return usage_error("--resume {}: expected 'full', 'zero', 'auto' or a number of tokens",
                       resume);
  }
  options.resume_interval_tokens = options.store_interval_tokens =
      resume == "full" ? kBlockTokens : interval;
  return {};
}

Result<StoreOptions> StoreFlags::store_options(const Model& model,
                                               const EngineOptions& options) const {
  const CacheLayout layout(model.cache_shape(), options.formats);
  VARVE_TRY(const size_t bytes, parse_bytes("--store-budget", budget));
  const size_t point = layout.block_bytes + layout.detail_bytes;
  return StoreOptions{.directory = directory,
                      .fingerprint = options.cache_root,
                      .root = options.cache_root,
                      .description = "",
                      .budget_bytes = bytes,
                      .queue_bytes = std::max(kLeastQueueBytes, kQueuedValues * point),
                      .block_bytes = layout.block_bytes,
                      .point_bytes = point};
}

Result<size_t> StoreFlags::memory_bytes(const Model& shapes, const EngineOptions& options) const {
  if (directory.empty()) return size_t{0};
  VARVE_TRY(const StoreOptions store, store_options(shapes, options));
  return Store::memory_bytes(store);
}

Result<std::unique_ptr<Store>> StoreFlags::open(const Model& model, const std::string& path,
                                                EngineOptions& options) const {
  if (directory.empty()) return std::unique_ptr<Store>();
  if (options.kernels == nullptr) {
    VARVE_TRY(options.kernels, select_kernels(""));
  }
  ThreadPool pool(options.n_threads > 0 ? options.n_threads : usable_cores());
  VARVE_CHECKED(pool.start());
  Progress progress("fingerprint", static_cast<double>(model.weight_bytes()) / (1 << 20), "MiB");
  VARVE_TRY(const Digest fingerprint, model_fingerprint(model, path, pool, [&](size_t done) {
              progress.update(static_cast<double>(done) / (1 << 20));
            }));
  progress.finish();
  options.cache_root = store_fingerprint(fingerprint, options);
  VARVE_TRY(StoreOptions wanted, store_options(model, options));
  const CacheLayout layout(model.cache_shape(), options.formats);
  wanted.description = fmt::format("{}, {}", model_name(path), describe_formats(layout));
  VARVE_TRY(auto store, Store::open(wanted));
  for (const std::string& note : store->stats().notes) fmt::print(stderr, "varve: {}\n", note);
  return store;
}

}  // namespace varve::cli
