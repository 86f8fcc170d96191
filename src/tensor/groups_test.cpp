#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/rng.h"
#include "tensor/codecs.h"
#include "tensor/kv_tile.h"

namespace varve {
namespace {

std::vector<float> random_values(int n, uint64_t seed, float spread = 1) {
  Rng rng(seed);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& x : values) x = spread * rng.normal();
  return values;
}

std::vector<const GroupFormat*> all_formats() {
  std::vector<const GroupFormat*> found;
  for (const RowFormatInfo& info : row_formats()) {
    if (const GroupFormat* const format = group_format(info.format)) found.push_back(format);
  }
  return found;
}

TEST(Groups, BytesPerValueAreThoseOfTheTypesTheyAreCalledAfter) {
  const auto bytes = [](RowFormat f) { return group_format(f)->bytes(); };
  EXPECT_EQ(bytes(RowFormat::q8_0), 34u);
  EXPECT_EQ(bytes(RowFormat::q5_1), 24u);
  EXPECT_EQ(bytes(RowFormat::q5_0), 22u);
  EXPECT_EQ(bytes(RowFormat::q4_1), 20u);
  EXPECT_EQ(bytes(RowFormat::q4_0), 18u);
  EXPECT_EQ(bytes(RowFormat::mxfp4), 17u);
}

// No code is nearer to a value than the one that is stored.
TEST(Groups, EveryCodeIsTheNearest) {
  for (const GroupFormat* const format : all_formats()) {
    for (uint64_t seed = 0; seed < 50; ++seed) {
      const auto values = random_values(kGroupValues, seed, seed % 2 == 0 ? 1.0f : 1000.0f);
      const Group group = quantize_group(*format, values);
      const float scale = group_scale(*format, group.scale);
      const float min = format->has_min ? f32_from_f16(group.min) : 0;
      for (size_t i = 0; i < values.size(); ++i) {
        const float got = group_value(*format, group.codes[i], scale, min);
        for (int code = 0; code < 1 << format->bits; ++code) {
          const float other = group_value(*format, static_cast<uint8_t>(code), scale, min);
          EXPECT_LE(std::fabs(got - values[i]), std::fabs(other - values[i]) * 1.0001f);
        }
      }
    }
  }
}

TEST(Groups, ErrorsStayWithinAStep) {
  for (const RowFormatInfo& info : row_formats()) {
    const GroupFormat* const format = group_format(info.format);
    if (format == nullptr) continue;
    const auto values = random_values(kGroupValues, 7);
    const Group group = quantize_group(*format, values);
    const float scale = std::fabs(group_scale(*format, group.scale));
    const float min = format->has_min ? f32_from_f16(group.min) : 0;
    // Levels of mxfp4 lie up to 4 apart; the f16 rounding of scale and minimum adds a little.
    const float step = format->table_levels ? 4 * scale : scale;
    for (size_t i = 0; i < values.size(); ++i) {
      const float got =
          group_value(*format, group.codes[i], group_scale(*format, group.scale), min);
      EXPECT_NEAR(got, values[i], 0.51f * step + 0.02f) << info.name;
    }
  }
}

TEST(Groups, OddValues) {
  for (const GroupFormat* const format : all_formats()) {
    for (const float x : {0.0f, -0.0f, 1e-30f, -1e30f, INFINITY, -INFINITY, NAN, 65504.0f}) {
      const std::vector<float> values(kGroupValues, x);
      const Group group = quantize_group(*format, values);
      const float min = format->has_min ? f32_from_f16(group.min) : 0;
      const float got =
          group_value(*format, group.codes[0], group_scale(*format, group.scale), min);
      EXPECT_TRUE(std::isfinite(got)) << x;
      if (std::fabs(x) <= 1) {
        EXPECT_NEAR(got, x, 1e-6f);
      } else if (std::fabs(x) <= 65504) {
        EXPECT_NEAR(got, x, 0.01f * std::fabs(x));
      }
    }
  }
}

// A row in a tile and a row by itself stand for the same values, whatever lies beside them and in
// whatever order they came.
TEST(KvTile, HoldsTheRowsThatItWasGiven) {
  for (const RowFormatInfo& info : row_formats()) {
    const GroupFormat* const format = group_format(info.format);
    if (format == nullptr) continue;
    for (const int dim : {2, 31, 32, 64, 80, 128}) {
      for (const KvSide side : {KvSide::keys, KvSide::values}) {
        const RowShape shape{dim, 0, false};
        const KvTile layout(*format, dim);
        EXPECT_EQ(layout.bytes, kKvTileRows * row_bytes(info.format, shape));
        std::vector<std::byte> tile(layout.bytes, std::byte{0xA5});
        for (const int salt : {0, 100}) {  // the second time over rows that are there
          for (int i = 0; i < kKvTileRows; ++i) {
            const int r = (i * 7 + salt) % kKvTileRows;
            const auto values = random_values(dim, static_cast<uint64_t>(r + salt));
            encode_kv_row(*format, side, dim, values.data(), r, tile.data());
          }
          for (int r = 0; r < kKvTileRows; ++r) {
            const auto values = random_values(dim, static_cast<uint64_t>(r + salt));
            std::vector<std::byte> row(row_bytes(info.format, shape));
            std::vector<float> want(values.size()), got(values.size());
            encode_row(info.format, shape, values.data(), row.data());
            decode_row(info.format, shape, row.data(), want.data());
            decode_kv_row(*format, side, dim, tile.data(), r, got.data());
            EXPECT_EQ(got, want) << info.name << " dim " << dim << " row " << r;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace varve
