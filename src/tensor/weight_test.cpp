#include "tensor/weight.h"

#include <gtest/gtest.h>

#include <array>

namespace varve {
namespace {

TEST(Weight, AppliesTheScaleOfItsBlock) {
  // [3, 4] e4m3 ones, blocks of 2 x 2: scales [[1, 2], [4, 8]].
  std::array<uint8_t, 12> codes;
  codes.fill(0x38);
  const std::array<uint8_t, 4> scales = {127, 128, 129, 130};
  Weight weight{.type = DType::f8_e4m3,
                .n_rows = 3,
                .n_cols = 4,
                .data = reinterpret_cast<const std::byte*>(codes.data()),
                .row_bytes = 4,
                .scales = reinterpret_cast<const std::byte*>(scales.data()),
                .scale_type = DType::f8_e8m0,
                .scale_rows = 2,
                .scale_cols = 2,
                .scale_row_bytes = 2};
  EXPECT_EQ(weight.at(0, 0), 1.0f);
  EXPECT_EQ(weight.at(1, 3), 2.0f);
  EXPECT_EQ(weight.at(2, 1), 4.0f);
  // A slice keeps the block that its row has in the whole.
  EXPECT_EQ(weight.rows(2, 1).at(0, 3), 8.0f);
  EXPECT_EQ(weight.rows(1, 2).rows(1, 1).at(0, 0), 4.0f);
}

TEST(Weight, DecodingARowIsAtForEveryElement) {
  std::array<uint8_t, 64> bytes;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 37 % 127);
  const std::array<uint8_t, 4> scales = {120, 125, 129, 131};
  for (DType type : {DType::f32, DType::bf16, DType::f16, DType::f8_e4m3, DType::e2m1x2}) {
    Weight weight{.type = type,
                  .n_rows = 2,
                  .n_cols = 7,
                  .data = reinterpret_cast<const std::byte*>(bytes.data()),
                  .row_bytes = 31,
                  .scales = reinterpret_cast<const std::byte*>(scales.data()),
                  .scale_type = DType::f8_e8m0,
                  .scale_rows = 1,
                  .scale_cols = 4,
                  .scale_row_bytes = 2};
    for (int r = 0; r < 2; ++r) {
      std::array<float, 7> row;
      decode_row(weight, r, row);
      for (int c = 0; c < 7; ++c) EXPECT_EQ(row[static_cast<size_t>(c)], weight.at(r, c));
    }
  }
}

TEST(Weight, UnpacksTheLowNibbleFirst) {
  const std::array<uint8_t, 2> bytes = {0x21, 0xF7};  // 0.5, 1, 6, -6
  Weight weight{.type = DType::e2m1x2,
                .n_rows = 1,
                .n_cols = 4,
                .data = reinterpret_cast<const std::byte*>(bytes.data()),
                .row_bytes = 2};
  std::array<float, 4> row;
  decode_row(weight, 0, row);
  EXPECT_EQ(row, (std::array<float, 4>{0.5f, 1.0f, 6.0f, -6.0f}));
}

}  // namespace
}  // namespace varve
