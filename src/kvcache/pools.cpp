#include "kvcache/pools.h"

#include <algorithm>

namespace varve {
namespace {

constexpr std::array<PoolInfo, kNumPools> kPools = {{
    {Pool::window, "window", "window rows", &PoolFormats::window},
    {Pool::csa, "csa", "CSA entries", &PoolFormats::csa},
    {Pool::hca, "hca", "HCA entries", &PoolFormats::hca},
    {Pool::index, "index", "index keys", &PoolFormats::index},
    {Pool::latent, "latent", "latent rows", &PoolFormats::latent},
    {Pool::k, "k", "keys", &PoolFormats::k},
    {Pool::v, "v", "values", &PoolFormats::v},
}};

}  // namespace

bool pool_takes(Pool pool, RowFormat format) {
  if (pool == Pool::k || pool == Pool::v) return format != RowFormat::native;
  return pool != Pool::index || !is_quantized(format);
}

std::span<const PoolInfo> pools() {
  return kPools;
}

RowFormat PoolFormats::of(Pool pool) const {
  return this->*kPools[static_cast<size_t>(pool)].format;
}

bool PoolFormats::rotates(Pool pool, int dim) const {
  constexpr int kFewBits = 5;
  constexpr int kLeastMixed = 16;
  const RowFormat format = of(pool);
  if (!is_quantized(format) || (dim & -dim) < kLeastMixed) return false;
  return rotation == Rotation::on ||
         (rotation == Rotation::few_bits && row_format_bits(format) <= kFewBits);
}

RowFormat PoolFormats::entries(LayerKind kind) const {
  switch (kind) {
    case LayerKind::csa:
      return csa;
    case LayerKind::hca:
      return hca;
    case LayerKind::swa:
    case LayerKind::kv:
    case LayerKind::mla:
    case LayerKind::dsa:
      break;
  }
  return latent;
}

double seen_row_bytes(const PoolFormats& formats, Pool pool, const RowShape& row, int first,
                      int begin, int end) {
  const auto bytes = static_cast<double>(row_bytes(formats.of(pool), row));
  if (!formats.keeps_exact(pool)) return (end - first) * bytes;
  // Some query takes a token as one of the newest, another one does not: both rows are read.
  const int sinks = std::max(0, std::min(formats.sink_tokens, end) - first);
  const int recent = std::min(end - first, end - begin + formats.recent_tokens - 1);
  const int others = std::max(0, end - formats.recent_tokens - first - sinks);
  const auto exact = static_cast<double>(row_bytes(RowFormat::bf16, row));
  return others * bytes + std::min(sinks + recent, end - first) * exact;
}

}  // namespace varve
