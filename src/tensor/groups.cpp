#include "tensor/groups.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "tensor/codecs.h"

namespace varve {
namespace {

constexpr float kLargestF16 = 65504;

constexpr GroupFormat kQ80{8, 128, false, false, false};
constexpr GroupFormat kQ51{5, 0, true, false, false};
constexpr GroupFormat kQ50{5, 16, false, false, false};
constexpr GroupFormat kQ41{4, 0, true, false, false};
constexpr GroupFormat kQ40{4, 8, false, false, false};
constexpr GroupFormat kMxfp4{4, 12, false, true, true};

uint16_t f16_within_range(float x) {
  return f16_from_f32(std::clamp(x, -kLargestF16, kLargestF16));
}

// The nearest level to x that there is.
uint8_t nearest_level(float x, int n_levels) {
  const float last = static_cast<float>(n_levels - 1);
  const float bounded = x > 0 ? std::min(x, last) : 0.0f;  // 0 where x is no number
  return static_cast<uint8_t>(bounded + 0.5f);
}

// e2m1 with the power of two at or above amax / 6.
void quantize_e2m1_group(const std::array<float, kGroupValues>& values, float most, Group& out) {
  const float amax = std::max(most, 6.0f * 0x1p-126f);
  const uint8_t scale = e8m0_at_or_above(amax * (1.0f / 6.0f));
  const float inverse = 1.0f / f32_from_e8m0(scale);
  out.scale = scale;
  for (size_t i = 0; i < values.size(); ++i) out.codes[i] = e2m1_from_f32(values[i] * inverse);
}

}  // namespace

const GroupFormat* group_format(RowFormat format) {
  switch (format) {
    case RowFormat::q8_0:
      return &kQ80;
    case RowFormat::q5_1:
      return &kQ51;
    case RowFormat::q5_0:
      return &kQ50;
    case RowFormat::q4_1:
      return &kQ41;
    case RowFormat::q4_0:
      return &kQ40;
    case RowFormat::mxfp4:
      return &kMxfp4;
    case RowFormat::f32:
    case RowFormat::bf16:
    case RowFormat::f16:
    case RowFormat::native:
    case RowFormat::fp8:
      break;
  }
  return nullptr;
}

Group quantize_group(const GroupFormat& format, std::span<const float> given) {
  std::array<float, kGroupValues> values = {};
  float least = given.empty() ? 0 : kLargestF16, most = -least, largest = 0;
  for (size_t i = 0; i < given.size(); ++i) {
    // Comparisons that are false for NaN leave 0.
    const float x = given[i] > -INFINITY && given[i] < INFINITY ? given[i] : 0.0f;
    values[i] = x;
    least = std::min(least, x);
    most = std::max(most, x);
    if (std::fabs(x) > std::fabs(largest)) largest = x;
  }
  Group out{};
  if (format.table_levels) {
    quantize_e2m1_group(values, std::fabs(largest), out);
    return out;
  }
  const int n_levels = 1 << format.bits;
  float min = 0, step = 0;
  if (format.has_min) {
    out.min = f16_within_range(least);
    min = f32_from_f16(out.min);
    step = (most - min) / static_cast<float>(n_levels - 1);
  } else if (format.bits == 8) {
    step = std::fabs(largest) / 127.0f;
  } else {
    // The level farthest from zero is the lowest one: the largest value gets it, whatever its sign.
    step = -largest / static_cast<float>(format.zero);
  }
  out.scale = f16_within_range(step);
  const float scale = f32_from_f16(out.scale);
  const float inverse = scale != 0 ? 1.0f / scale : 0.0f;
  for (size_t i = 0; i < values.size(); ++i) {
    const float level = (values[i] - min) * inverse + static_cast<float>(format.zero);
    out.codes[i] = nearest_level(level, n_levels);
  }
  return out;
}

float group_scale(const GroupFormat& format, uint16_t scale_bits) {
  if (!format.power_scale) return f32_from_f16(scale_bits);
  return 0.5f * f32_from_e8m0(static_cast<uint8_t>(scale_bits));
}

float group_value(const GroupFormat& format, uint8_t code, float scale, float min) {
  const int level = format.table_levels ? kE2m1Levels[code] : code;
  return scale * static_cast<float>(level - format.zero) + min;
}

}  // namespace varve
