#include "plan/ways.h"

#include <array>

namespace varve {
namespace {

struct Pair {
  RowFormat k, v;
  double mean_kld;  // docs/KV_QUANTIZATION.md, SmolLM2-135M-Instruct
};

// From the finest.
constexpr std::array kPairs = {Pair{RowFormat::q8_0, RowFormat::q8_0, 3.59e-4},
                               Pair{RowFormat::q8_0, RowFormat::q4_0, 7.12e-4},
                               Pair{RowFormat::q5_0, RowFormat::q5_0, 1.38e-3},
                               Pair{RowFormat::q5_0, RowFormat::q4_0, 1.62e-3},
                               Pair{RowFormat::q4_0, RowFormat::q4_0, 4.91e-3}};

constexpr std::array kLatentFormats = {RowFormat::q8_0, RowFormat::q5_0, RowFormat::q4_0};

constexpr int kSmallChunk = 32;

}  // namespace

std::optional<Quality> quality_of(const CacheLayout& layout) {
  if (!layout.has(Pool::k)) return std::nullopt;
  const PoolFormats standard;
  const PoolFormats& formats = layout.formats;
  const bool as_measured = formats.sink_tokens == standard.sink_tokens &&
                           formats.recent_tokens == standard.recent_tokens &&
                           formats.rotation == standard.rotation;
  for (const Pair& pair : kPairs) {
    if (as_measured && formats.k == pair.k && formats.v == pair.v) return Quality{pair.mean_kld};
  }
  return std::nullopt;
}

std::vector<SmallerFormats> smaller_formats(const Model& model, const PoolFormats& formats) {
  std::vector<SmallerFormats> smaller;
  const CacheShape shape = model.cache_shape();
  const CacheLayout asked(shape, formats);
  const auto add = [&](std::string flags, const PoolFormats& changed) {
    if (CacheLayout(shape, changed).bytes_per_token() >= asked.bytes_per_token()) return;
    smaller.push_back({std::move(flags), changed});
  };
  PoolFormats native = formats;
  for (const PoolInfo& info : pools()) {
    native.*(info.format) = PoolFormats::all(RowFormat::native).of(info.pool);
  }
  add("--kv all=native", native);
  if (asked.has(Pool::k)) {
    for (const Pair& pair : kPairs) {
      PoolFormats changed = formats;
      changed.k = pair.k;
      changed.v = pair.v;
      add(fmt::format("--kv k={},v={}", row_format_name(pair.k), row_format_name(pair.v)), changed);
    }
  } else if (asked.has(Pool::latent)) {
    for (const RowFormat format : kLatentFormats) {
      PoolFormats changed = formats;
      changed.latent = format;
      add(fmt::format("--kv latent={}", row_format_name(format)), changed);
    }
  }
  return smaller;
}

Result<std::vector<Way>> ways_to_fit(const Model& model, const EngineOptions& options,
                                     const ProcessBytes& process, size_t memory_bytes) {
  std::vector<Way> ways;
  const auto add = [&](std::string flags, const EngineOptions& changed) -> Result<void> {
    VARVE_TRY(Footprint taken, footprint(model, changed, process, memory_bytes));
    const CacheLayout layout(model.cache_shape(), changed.formats);
    ways.push_back({std::move(flags), changed, std::move(taken),
                    largest_context_within(model, changed, process, memory_bytes),
                    quality_of(layout)});
    return {};
  };
  VARVE_CHECKED(add("", options));
  for (SmallerFormats& smaller : smaller_formats(model, options.formats)) {
    EngineOptions changed = options;
    changed.formats = smaller.formats;
    VARVE_CHECKED(add(std::move(smaller.flags), changed));
  }
  if (ways.front().footprint.memory.chunk_tokens > kSmallChunk) {
    EngineOptions changed = options;
    changed.chunk_tokens = kSmallChunk;
    VARVE_CHECKED(add(fmt::format("--chunk {}", kSmallChunk), changed));
  }
  if (options.n_sessions > 1) {
    EngineOptions changed = options;
    changed.n_sessions = 1;
    VARVE_CHECKED(add("--sequences 1", changed));
  }
  return ways;
}

}  // namespace varve
