#include "tensor/row_format.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/rng.h"
#include "tensor/codecs.h"

namespace varve {
namespace {

std::vector<float> random_values(int n, float scale, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = scale * rng.normal();
  return values;
}

std::vector<float> round_trip(RowFormat format, const RowShape& shape,
                              const std::vector<float>& values) {
  std::vector<std::byte> row(row_bytes(format, shape), std::byte{0xAA});
  encode_row(format, shape, values.data(), row.data());
  std::vector<float> back(values.size());
  decode_row(format, shape, row.data(), back.data());
  return back;
}

TEST(RowFormat, BytesAreTheSpecs) {
  // Spec 12.1.
  EXPECT_EQ(row_bytes(RowFormat::native, {512, 64}), 584u);
  EXPECT_EQ(row_bytes(RowFormat::bf16, {512, 64}), 1024u);
  EXPECT_EQ(row_bytes(RowFormat::f32, {512, 64}), 2048u);
  EXPECT_EQ(row_bytes(RowFormat::native, {128, 64, true}), 68u);
  EXPECT_EQ(row_bytes(RowFormat::f16, {128, 64, true}), 256u);
  // Odd shapes: 3 e4m3 + 2 bf16 + 1 scale in 8; no unrotated part; half a nibble pair.
  EXPECT_EQ(row_bytes(RowFormat::native, {5, 2}), 8u);
  EXPECT_EQ(row_bytes(RowFormat::native, {16, 16}), 32u);
  EXPECT_EQ(row_bytes(RowFormat::native, {34, 2, true}), 17u + 2u);
}

TEST(RowFormat, NamesAreFound) {
  for (const RowFormatInfo& info : row_formats()) {
    EXPECT_EQ(row_format_from_name(info.name), info.format);
    EXPECT_EQ(row_format_name(info.format), info.name);
  }
  EXPECT_FALSE(row_format_from_name("q9_9"));
}

TEST(RowFormat, NativeRowsRoundEachGroupByItsOwnScale) {
  const RowShape shape{200, 6};
  std::vector<float> values = random_values(shape.dim, 1, 1);
  for (int i = 64; i < 128; ++i)
    values[static_cast<size_t>(i)] *= 1e4f;  // another group's business
  const std::vector<float> back = round_trip(RowFormat::native, shape, values);
  for (int i = 0; i < shape.dim; ++i) {
    const auto at = static_cast<size_t>(i);
    if (i >= shape.dim - shape.rope_dim) {
      EXPECT_EQ(back[at], round_to_bf16(values[at]));
    } else {
      // 3 mantissa bits, or half a step of the smallest code of the group.
      EXPECT_NEAR(back[at], values[at], std::fabs(values[at]) / 16 + (i / 64 == 1 ? 1e-1 : 1e-4));
    }
  }
  // Amax exactly 448 * 2^k keeps scale 2^k: the largest value is stored whole (spec 2.3).
  std::vector<float> exact(70, 1.0f);
  exact[3] = 448.0f * 4;
  EXPECT_EQ(round_trip(RowFormat::native, {70, 6}, exact)[3], 448.0f * 4);
  // Stored values survive a second trip: the recipe is idempotent.
  EXPECT_EQ(round_trip(RowFormat::native, shape, back), back);
}

TEST(RowFormat, HalvesRoundToNearest) {
  const std::vector<float> values = {0.0f, -1.5f, 65504.0f, 65519.0f, 65520.0f, 1e-7f, 6e-8f, 0.1f};
  const auto back = round_trip(RowFormat::f16, {8, 2}, values);
  EXPECT_EQ(back[1], -1.5f);
  EXPECT_EQ(back[2], 65504.0f);
  EXPECT_EQ(back[3], 65504.0f);
  EXPECT_TRUE(std::isinf(back[4]));
  EXPECT_EQ(back[5], 0x1p-23f);
  EXPECT_EQ(back[6], 0x1p-24f);
  EXPECT_NEAR(back[7], 0.1f, 0.1f / 2048);
  for (uint32_t bits = 0; bits < 0x7C00; ++bits) {  // every finite half maps to itself
    EXPECT_EQ(f16_from_f32(f32_from_f16(static_cast<uint16_t>(bits))), bits);
  }
}

TEST(RowFormat, HadamardKeepsDotProducts) {
  for (int dim : {2, 24, 48, 128}) {
    std::vector<float> a = random_values(dim, 1, 2), b = random_values(dim, 1, 3);
    double before = 0, after = 0;
    for (size_t i = 0; i < a.size(); ++i) before += static_cast<double>(a[i]) * b[i];
    hadamard(a.data(), dim);
    hadamard(b.data(), dim);
    for (size_t i = 0; i < a.size(); ++i) after += static_cast<double>(a[i]) * b[i];
    EXPECT_NEAR(before, after, 1e-4);
  }
  std::array<float, 4> one = {1, 0, 0, 0};
  hadamard(one.data(), 4);
  EXPECT_EQ(one, (std::array<float, 4>{0.5f, 0.5f, 0.5f, 0.5f}));
}

TEST(RowFormat, IndexQueriesAndKeysAreQuantizedAlike) {
  for (int dim : {2, 24, 34, 128}) {
    const RowShape shape{dim, 2, true};
    const std::vector<float> values = random_values(dim, 3, 4);
    std::vector<std::byte> row(row_bytes(RowFormat::native, shape));
    encode_row(RowFormat::native, shape, values.data(), row.data());
    std::vector<float> decoded(static_cast<size_t>(dim));
    decode_row(RowFormat::native, shape, row.data(), decoded.data());
    const auto padded = static_cast<size_t>(index_padded(dim));
    std::vector<int8_t> q(padded), k(padded);
    std::vector<float> q_scale(static_cast<size_t>(index_groups(dim))), k_scale(q_scale.size());
    std::vector<int32_t> q_sum(q_scale.size());
    quantize_index_query(values.data(), dim, q.data(), q_scale.data(), q_sum.data());
    decode_index_key(row.data(), dim, k.data(), k_scale.data());
    EXPECT_EQ(q, k);
    for (size_t g = 0; g < q_sum.size(); ++g) {
      EXPECT_EQ(q_sum[g], std::accumulate(q.begin() + static_cast<std::ptrdiff_t>(32 * g),
                                          q.begin() + static_cast<std::ptrdiff_t>(32 * g + 32), 0));
    }
    double by_codes = 0, by_values = 0;
    for (size_t i = 0; i < padded; ++i) {
      by_codes += q[i] * k[i] * static_cast<double>(q_scale[i / 32]) * k_scale[i / 32];
    }
    for (float v : decoded) by_values += static_cast<double>(v) * v;
    EXPECT_NEAR(by_codes, by_values, 1e-4 * by_values);
  }
}

}  // namespace
}  // namespace varve
