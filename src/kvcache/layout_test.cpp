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
  EXPECT_EQ(flash.detail_pools[Pool::window], 43u * 128 * 584);
  const CacheLayout pro(published(61, LayerKind::hca), PoolFormats::all(RowFormat::native));
  EXPECT_DOUBLE_EQ(pro.bytes_per_token(), 5031.4375);
  EXPECT_EQ(pro.state_detail_bytes, 30u * 81920 + 31u * 524288);
}

TEST(CacheLayout, FlashInF32TakesWhatTheSpecSays) {
  const CacheLayout layout(published(43, LayerKind::swa), {});
  EXPECT_DOUBLE_EQ(layout.bytes_per_token(), 13760.0);  // spec 12.2, "ds4 f32 (2048, 512)"
  EXPECT_EQ(layout.detail_pools[Pool::window], 43u * 128 * 2048);
  // Spec 12.1: per CSA layer 65,536 + 16,384 bytes of state, per HCA layer 524,288.
  EXPECT_EQ(layout.state_detail_bytes, 21u * (65536 + 16384) + 20u * 524288);
}

TEST(CacheLayout, KeysAndValuesOfPublishedModels) {
  // 32 layers, 8 heads of 128 in 16 bits: 128 KiB a token.
  CacheShape llama{.layers = {}, .window = 0, .hidden_dim = 4096};
  llama.layers.assign(32, {.kind = LayerKind::kv, .head_dim = 128, .n_kv_heads = 8});
  const CacheLayout full(llama, PoolFormats::all(RowFormat::f16));
  EXPECT_EQ(full.bytes_per_token(), 128 * 1024.0);
  EXPECT_EQ(full.block_bytes, size_t{128} * 128 * 1024);
  EXPECT_FALSE(full.keeps_detail());
  EXPECT_TRUE(full.has(Pool::k) && full.has(Pool::v) && !full.has(Pool::window));
  // Native rows of keys and values are bf16.
  EXPECT_EQ(CacheLayout(llama, PoolFormats::all(RowFormat::native)).bytes_per_token(),
            128 * 1024.0);

  // A window of 4096 tokens: the block at work and the 32 before it, and nothing that grows.
  for (LayerShape& layer : llama.layers) layer.window = 4096;
  const CacheLayout sliding(llama, PoolFormats::all(RowFormat::f16));
  EXPECT_EQ(sliding.bytes_per_token(), 0);
  EXPECT_EQ(sliding.detail_pools[Pool::k], size_t{33} * 128 * 32 * 8 * 128 * 2);
  EXPECT_TRUE(sliding.keeps_detail());
}

TEST(CacheLayout, QuantizedPoolsKeepSomeTokensAsBf16) {
  const CacheShape shape{.layers = {{.kind = LayerKind::kv, .head_dim = 64, .n_kv_heads = 3}},
                         .window = 0};
  PoolFormats formats = PoolFormats::all(RowFormat::bf16);
  formats.k = RowFormat::q8_0;
  const CacheLayout half(shape, formats);
  EXPECT_EQ(half.bytes_per_token(), 3 * (68 + 128));
  EXPECT_TRUE(half.keeps_detail());
  // Two ring blocks of 128 tokens, four sinks; of values none.
  EXPECT_EQ(half.detail_pools[Pool::k], size_t{2 * 128 + 4} * 3 * 128);
  EXPECT_EQ(half.detail_pools[Pool::v], 0u);
  formats.sink_tokens = formats.recent_tokens = 0;
  EXPECT_FALSE(CacheLayout(shape, formats).keeps_detail());

  const CacheShape latent{
      .layers = {{.kind = LayerKind::mla, .ratio = 1, .head_dim = 576, .rope_dim = 64}},
      .window = 0};
  const CacheLayout q4(latent, PoolFormats::all(RowFormat::q4_0));
  EXPECT_EQ(q4.bytes_per_token(), 512 * 18 / 32 + 128);
  EXPECT_EQ(q4.detail_pools[Pool::latent], size_t{128 + 4} * 576 * 2);
}

TEST(CacheLayout, AWindowsRingHoldsItBesideABlockThatIsWritten) {
  for (const auto& [window, blocks] : {std::pair{1, 1}, {2, 2}, {128, 2}, {129, 2}, {130, 3}}) {
    EXPECT_EQ((LayerShape{.kind = LayerKind::kv, .window = window}.ring_blocks()), blocks)
        << window;
  }
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

size_t sum(const std::vector<ByteRange>& ranges) {
  size_t n = 0;
  for (const ByteRange& range : ranges) n += range.n_bytes;
  return n;
}

TEST(CacheLayout, APointNeedsNoInputsOfClosedEntries) {
  const CacheLayout flash(published(43, LayerKind::swa), PoolFormats::all(RowFormat::native));
  const size_t csa_row = 2 * (2 * 512 + 2 * 128) * sizeof(float);
  const size_t hca_row = 2 * 512 * sizeof(float);
  const size_t rest = flash.detail_bytes - flash.state_detail_bytes;
  EXPECT_EQ(sum(flash.detail_ranges(128 * 7)), rest + 21 * 4 * csa_row);
  EXPECT_EQ(sum(flash.detail_ranges(128 * 7 + 127)), rest + 21 * 7 * csa_row + 20 * 127 * hca_row);
  EXPECT_EQ(sum(flash.detail_ranges(1)), rest + 21 * csa_row + 20 * hca_row);
}

TEST(CacheLayout, WhatAPointNeedsStandsWhereItsTokensAre) {
  CacheShape shape{.layers = {}, .window = 3};
  shape.layers.push_back(
      {.kind = LayerKind::csa, .ratio = 4, .head_dim = 5, .rope_dim = 2, .index_dim = 3});
  const CacheLayout layout(shape, {});
  const LayerLayout& at = layout.layers[0];
  constexpr size_t kRow = 2 * 10 * 4, kIndexRow = 2 * 6 * 4;
  // Of a ring of 8 rows, those of tokens 4 to 8: 4 5 6 7 and 0.
  std::vector<bool> kept(layout.detail_bytes);
  for (const ByteRange& range : layout.detail_ranges(9)) {
    for (size_t i = 0; i < range.n_bytes; ++i) {
      EXPECT_FALSE(kept[range.at + i]);
      kept[range.at + i] = true;
    }
  }
  for (size_t row = 0; row < 8; ++row) {
    EXPECT_EQ(kept[at.state_at + row * kRow], row == 0 || row >= 4) << row;
    EXPECT_EQ(kept[at.index_state_at + row * kIndexRow + kIndexRow - 1], row == 0 || row >= 4);
  }
  EXPECT_TRUE(kept[at.window_at]);
  EXPECT_TRUE(kept.back());
}

}  // namespace
}  // namespace varve
