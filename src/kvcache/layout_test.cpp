#include "kvcache/layout.h"

#include <gtest/gtest.h>

namespace varve {
namespace {

// n_layers layers, CSA and HCA in turns from layer 2 on, the first two of the kind given.
CacheShape published(int n_layers, LayerKind first_two) {
  CacheShape shape{.layers = {}, .window = 128};
  for (int i = 0; i < n_layers; ++i) {
    LayerShape layer{.head_dim = 512, .rope_dim = 64};
    if (i >= 2 && i % 2 == 0) {
      layer.kind = LayerKind::csa;
      layer.ratio = 4;
      layer.index_dim = 128;
    } else if (i >= 2 || first_two == LayerKind::hca) {
      layer.kind = LayerKind::hca;
      layer.ratio = 128;
    }
    shape.layers.push_back(layer);
  }
  return shape;
}

TEST(CacheLayout, NativeRowsTakeWhatTheSpecSays) {  // 12.2
  const CacheLayout flash(published(43, LayerKind::swa), PoolFormats::all(RowFormat::native));
  EXPECT_DOUBLE_EQ(flash.bytes_per_token(), 3514.25);
  EXPECT_EQ(flash.window_detail_bytes, 43u * 128 * 584);
  const CacheLayout pro(published(61, LayerKind::hca), PoolFormats::all(RowFormat::native));
  EXPECT_DOUBLE_EQ(pro.bytes_per_token(), 5031.4375);
  EXPECT_EQ(pro.state_detail_bytes, 30u * 81920 + 31u * 524288);
}

TEST(CacheLayout, FlashInF32TakesWhatTheSpecSays) {
  const CacheLayout layout(published(43, LayerKind::swa), {});
  EXPECT_DOUBLE_EQ(layout.bytes_per_token(), 13760.0);  // spec 12.2, "ds4 f32 (2048, 512)"
  EXPECT_EQ(layout.window_detail_bytes, 43u * 128 * 2048);
  // Spec 12.1: per CSA layer 65,536 + 16,384 bytes of state, per HCA layer 524,288.
  EXPECT_EQ(layout.state_detail_bytes, 21u * (65536 + 16384) + 20u * 524288);
}

TEST(CacheLayout, RowsDoNotOverlap) {
  CacheShape shape{.layers = {}, .window = 3};
  shape.layers.push_back(
      {.kind = LayerKind::csa, .ratio = 8, .head_dim = 5, .rope_dim = 2, .index_dim = 3});
  shape.layers.push_back({.kind = LayerKind::hca, .ratio = 32, .head_dim = 7, .rope_dim = 2});
  const CacheLayout layout(shape, {});
  EXPECT_GE(layout.layers[0].index_at, layout.layers[0].entries_at + 16 * 5 * 4);
  EXPECT_GE(layout.layers[1].entries_at, layout.layers[0].index_at + 16 * 3 * 4);
  EXPECT_GE(layout.block_bytes, layout.layers[1].entries_at + 4 * 7 * 4);
  EXPECT_GE(layout.layers[0].index_state_at, layout.layers[0].state_at + 16 * 2 * 10 * 4);
  EXPECT_GE(layout.detail_bytes, layout.layers[1].state_at + 32 * 2 * 7 * 4);
}

}  // namespace
}  // namespace varve
