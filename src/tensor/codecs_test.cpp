#include "tensor/codecs.h"

#include <gtest/gtest.h>

#include <limits>

namespace varve {
namespace {

// The nearest code by search over all codes, ties to the even code: slow and obvious.
template <class Decode>
int nearest_code(float value, int n_codes, Decode decode) {
  int best = 0;
  for (int code = 1; code < n_codes; ++code) {
    const double now = std::fabs(static_cast<double>(decode(code)) - value);
    const double before = std::fabs(static_cast<double>(decode(best)) - value);
    if (now < before || (now == before && code % 2 == 0)) best = code;
  }
  return best;
}

TEST(Codecs, E4m3DecodesItsLandmarks) {
  EXPECT_EQ(f32_from_e4m3(0x00), 0.0f);
  EXPECT_EQ(f32_from_e4m3(0x01), 0x1p-9f);
  EXPECT_EQ(f32_from_e4m3(0x08), 0x1p-6f);
  EXPECT_EQ(f32_from_e4m3(0x38), 1.0f);
  EXPECT_EQ(f32_from_e4m3(0x7E), 448.0f);
  EXPECT_EQ(f32_from_e4m3(0xFE), -448.0f);
  EXPECT_TRUE(std::isnan(f32_from_e4m3(0x7F)));
}

TEST(Codecs, E4m3EncodesToTheNearest) {
  for (int code = 0; code < 0x7F; ++code) {
    const float value = f32_from_e4m3(static_cast<uint8_t>(code));
    EXPECT_EQ(e4m3_from_f32(value), code);
    if (code == 0) continue;
    const float below = f32_from_e4m3(static_cast<uint8_t>(code - 1));
    for (float t : {0.25f, 0.5f, 0.75f}) {
      const float between = below + (value - below) * t;
      EXPECT_EQ(
          e4m3_from_f32(between),
          nearest_code(between, 0x7F, [](int c) { return f32_from_e4m3(static_cast<uint8_t>(c)); }))
          << between;
    }
  }
  EXPECT_EQ(e4m3_from_f32(1e9f), 0x7E);
  EXPECT_EQ(e4m3_from_f32(-460.0f), 0xFE);
}

TEST(Codecs, E2m1EncodesToTheNearest) {
  for (int step = 0; step <= 8 * 7; ++step) {
    const float value = static_cast<float>(step) / 8.0f;
    EXPECT_EQ(e2m1_from_f32(value),
              nearest_code(value, 8, [](int c) { return f32_from_e2m1(static_cast<uint8_t>(c)); }))
        << value;
    EXPECT_EQ(e2m1_from_f32(-value) & 7, e2m1_from_f32(value));
  }
}

TEST(Codecs, Bf16RoundsToEven) {
  EXPECT_EQ(bf16_from_f32(1.0f), 0x3F80);
  EXPECT_EQ(bf16_from_f32(std::bit_cast<float>(0x3F808000u)), 0x3F80);  // tie, even stays
  EXPECT_EQ(bf16_from_f32(std::bit_cast<float>(0x3F818000u)), 0x3F82);  // tie, odd goes up
  EXPECT_TRUE(std::isnan(f32_from_bf16(bf16_from_f32(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_EQ(f32_from_bf16(bf16_from_f32(std::numeric_limits<float>::max())),
            std::numeric_limits<float>::infinity());
}

TEST(Codecs, F16AndE8m0DecodeTheirLandmarks) {
  EXPECT_EQ(f32_from_f16(0x3C00), 1.0f);
  EXPECT_EQ(f32_from_f16(0x0001), 0x1p-24f);
  EXPECT_EQ(f32_from_f16(0xFBFF), -65504.0f);
  EXPECT_EQ(f32_from_f16(0x7C00), std::numeric_limits<float>::infinity());
  EXPECT_EQ(f32_from_e8m0(127), 1.0f);
  EXPECT_EQ(f32_from_e8m0(0), 0x1p-127f);
  EXPECT_TRUE(std::isnan(f32_from_e8m0(255)));
}

}  // namespace
}  // namespace varve
