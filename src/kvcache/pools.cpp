#include "kvcache/pools.h"

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

std::span<const PoolInfo> pools() {
  return kPools;
}

RowFormat PoolFormats::of(Pool pool) const {
  return this->*kPools[static_cast<size_t>(pool)].format;
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

}  // namespace varve
