// Scalar conversions between stored element types and f32: the definition that every fast kernel is
// tested against. Decoding is exact; encoding rounds to nearest, ties to even.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace varve {

inline float f32_from_bf16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

/// NaN stays NaN (quiet); overflow goes to infinity as the rounding rule says.
inline uint16_t bf16_from_f32(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

inline float round_to_bf16(float value) {
  return f32_from_bf16(bf16_from_f32(value));
}

inline float f32_from_f16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 31u;
  const uint32_t mantissa = bits & 1023u;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000u | (mantissa << 13));
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

/// Beyond +-65504 (by the rounding rule) becomes infinite; NaN stays NaN.
inline uint16_t f16_from_f32(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return static_cast<uint16_t>(sign | 0x7E00u);
  if (magnitude >= 0x477FF000u) return static_cast<uint16_t>(sign | 0x7C00u);
  if (magnitude < 0x38800000u) {  // subnormal halves: multiples of 2^-24
    const float steps = std::nearbyint(std::bit_cast<float>(magnitude) * 0x1p24f);
    return static_cast<uint16_t>(sign | static_cast<uint16_t>(steps));
  }
  const uint32_t rounded = magnitude + 0xFFFu + ((magnitude >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((rounded >> 13) - (112u << 10)));
}

inline constexpr std::array<float, 256> kE4m3Values = [] {
  std::array<float, 256> values{};
  for (int code = 0; code < 256; ++code) {
    const int exponent = (code >> 3) & 15;
    const int mantissa = code & 7;
    float magnitude = static_cast<float>(exponent == 0 ? mantissa : 8 + mantissa) * 0x1p-9f;
    for (int e = 1; e < exponent; ++e) magnitude *= 2;
    if (exponent == 15 && mantissa == 7) magnitude = std::numeric_limits<float>::quiet_NaN();
    values[static_cast<size_t>(code)] = code >= 128 ? -magnitude : magnitude;
  }
  return values;
}();

inline float f32_from_e4m3(uint8_t code) {
  return kE4m3Values[code];
}

/// Saturates at +-448; NaN becomes 0x7f.
inline uint8_t e4m3_from_f32(float value) {
  const uint8_t sign = std::signbit(value) ? 0x80 : 0;
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return static_cast<uint8_t>(sign | 0x7F);
  if (magnitude >= 448.0f) return static_cast<uint8_t>(sign | 0x7E);
  if (magnitude < 0x1p-6f) {  // subnormal codes: multiples of 2^-9
    return static_cast<uint8_t>(sign | static_cast<uint8_t>(std::nearbyint(magnitude * 0x1p9f)));
  }
  // Keep 3 of 23 mantissa bits; a carry runs into the exponent as it should.
  uint32_t bits = std::bit_cast<uint32_t>(magnitude);
  bits += 0x7FFFFu + ((bits >> 20) & 1u);
  const uint32_t code = (bits >> 20) - ((127u - 7u) << 3);
  return static_cast<uint8_t>(sign | (code > 0x7E ? 0x7E : code));
}

/// 2^(byte - 127); byte 255 is NaN. Byte 0 is 2^-127, a subnormal f32.
inline float f32_from_e8m0(uint8_t byte) {
  if (byte == 255) return std::bit_cast<float>(0x7FC00000u);
  if (byte == 0) return std::bit_cast<float>(0x00400000u);
  return std::bit_cast<float>(static_cast<uint32_t>(byte) << 23);
}

/// The byte of the power of two at or above x > 0 (spec 2.3).
inline uint8_t e8m0_at_or_above(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t exponent = (bits >> 23) & 255u;
  return static_cast<uint8_t>(exponent + ((bits & 0x7FFFFFu) != 0 ? 1u : 0u));
}

inline constexpr std::array<float, 16> kE2m1Values = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,
                                                      4.0f,  6.0f,  -0.0f, -0.5f, -1.0f, -1.5f,
                                                      -2.0f, -3.0f, -4.0f, -6.0f};

inline float f32_from_e2m1(uint8_t nibble) {
  return kE2m1Values[nibble & 15];
}

/// Saturates at +-6; a tie goes to the even code. NaN becomes code 7 (6.0).
inline uint8_t e2m1_from_f32(float value) {
  const float magnitude = std::fabs(value);
  // The midpoints below it, without a branch, which random values would mislead; on a midpoint the
  // even code of the two wins. NaN is above all.
  const int code = !(magnitude <= 0.25f) + !(magnitude < 0.75f) + !(magnitude <= 1.25f) +
                   !(magnitude < 1.75f) + !(magnitude <= 2.5f) + !(magnitude < 3.5f) +
                   !(magnitude <= 5.0f);
  const int sign = std::signbit(value) ? 8 : 0;
  return static_cast<uint8_t>(sign | code);
}

}  // namespace varve
