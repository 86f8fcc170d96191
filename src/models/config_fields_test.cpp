#include "models/config_fields.h"

#include <gtest/gtest.h>

#include "kvcache/cache.h"

namespace varve {
namespace {

CacheShape layers(int n, const LayerShape& layer, int window = 0) {
  CacheShape shape{.layers = {}, .window = window, .hidden_dim = 0};
  shape.layers.assign(static_cast<size_t>(n), layer);
  return shape;
}

// That the largest cache of this shape is counted without wrapping, up to where counting stops.
void expect_counted(const CacheShape& shape) {
  const CacheOptions most = {.ctx_tokens = kMaxTokens, .n_sequences = 64, .resume_points = 1024};
  const Cache cache(shape, most);
  ArenaBuilder dry;
  Cache(shape, most).lay_out(dry);
  const CacheLayout& layout = cache.layout();
  const long double bytes =
      static_cast<long double>(cache.n_blocks()) * static_cast<long double>(layout.block_bytes) +
      64.0L * 1025 * static_cast<long double>(layout.detail_bytes);
  EXPECT_GE(static_cast<long double>(dry.bytes()),
            std::min<long double>(bytes, ArenaBuilder::kMostBytes));
}

TEST(CheckCache, HoldsWhatNoPlanCouldSumUp) {
  const auto kv = [](int n_kv_heads, int head_dim, int window) {
    return LayerShape{
        .kind = LayerKind::kv, .head_dim = head_dim, .n_kv_heads = n_kv_heads, .window = window};
  };
  const LayerShape csa = {
      .kind = LayerKind::csa, .ratio = 1, .head_dim = 2048, .rope_dim = 64, .index_dim = 2048};
  for (const CacheShape& runs :
       {layers(80, kv(64, 128, 0)), layers(80, kv(64, 128, 1 << 17)), layers(4096, kv(8, 256, 0)),
        layers(61, csa, 128), layers(4096, csa, 1 << 16)}) {
    const auto checked = check_cache("config.json", runs);
    EXPECT_TRUE(checked) << checked.error().message;
    expect_counted(runs);
  }
  for (const auto& [shape, found] :
       {std::pair{layers(4096, kv(64, 2048, 0)), "values kept of 128 tokens is 137438953472"},
        {layers(4096, kv(64, 2048, 1 << 30)), "values kept of a window is 11529216"},
        {layers(4096, csa, 1 << 20), "values kept of a window is 8796"}}) {
    const auto checked = check_cache("config.json", shape);
    ASSERT_FALSE(checked) << found;
    EXPECT_NE(checked.error().message.find(found), std::string::npos) << checked.error().message;
  }
}

}  // namespace
}  // namespace varve
