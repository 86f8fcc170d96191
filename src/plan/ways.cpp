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

constexpr std::array kLatentFormats = {RowFormat::native, RowFormat::q8_0, RowFormat::q5_0,
                                       RowFormat::q4_0};

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

Result<std::vector<Way>> ways_to_fit(const Model& model, const EngineOptions& options,
                                     size_t memory_bytes) {
  std::vector<Way> ways;
  const auto add = [&](std::string flags, const EngineOptions& changed) -> Result<void> {
    VARVE_TRY(Footprint taken, footprint(model, changed, memory_bytes));
    const CacheLayout layout(model.cache_shape(), changed.formats);
    ways.push_back({std::move(flags), changed, std::move(taken),
                    largest_context_within(model, changed, memory_bytes), quality_of(layout)});
    return {};
  };
  VARVE_CHECKED(add("", options));
  const size_t asked_bytes = ways.front().footprint.memory.cache_bytes();
  const auto add_smaller = [&](std::string flags, const PoolFormats& formats) -> Result<void> {
    EngineOptions changed = options;
    changed.formats = formats;
    VARVE_CHECKED(add(std::move(flags), changed));
    if (ways.back().footprint.memory.cache_bytes() >= asked_bytes) ways.pop_back();
    return {};
  };
  const CacheLayout layout(model.cache_shape(), options.formats);
  if (layout.has(Pool::k)) {
    for (const Pair& pair : kPairs) {
      PoolFormats formats = options.formats;
      formats.k = pair.k;
      formats.v = pair.v;
      VARVE_CHECKED(add_smaller(
          fmt::format("--kv k={},v={}", row_format_name(pair.k), row_format_name(pair.v)),
          formats));
    }
  } else if (layout.has(Pool::latent)) {
    for (const RowFormat format : kLatentFormats) {
      PoolFormats formats = options.formats;
      formats.latent = format;
      VARVE_CHECKED(add_smaller(fmt::format("--kv latent={}", row_format_name(format)), formats));
    }
  } else {
    VARVE_CHECKED(add_smaller("--kv all=native", PoolFormats::all(RowFormat::native)));
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
