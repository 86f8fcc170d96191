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

struct Range {
  float least, most;
};

// In eight lanes, which compilers turn into vectors.
Range range_of(const std::array<float, kGroupValues>& values) {
  constexpr size_t kLanes = 8;
  std::array<float, kLanes> least, most;
  for (size_t l = 0; l < kLanes; ++l) least[l] = most[l] = values[l];
  for (size_t i = kLanes; i < values.size(); i += kLanes) {
    for (size_t l = 0; l < kLanes; ++l) {
      least[l] = values[i + l] < least[l] ? values[i + l] : least[l];
      most[l] = values[i + l] > most[l] ? values[i + l] : most[l];
    }
  }
  return {*std::min_element(least.begin(), least.end()),
          *std::max_element(most.begin(), most.end())};
}

// codes = the levels nearest to (values - min) * inverse + zero.
void put_levels(const std::array<float, kGroupValues>& values, float min, float inverse, float zero,
                float last_level, std::array<uint8_t, kGroupValues>& codes) {
  std::array<int32_t, kGroupValues> levels;
  for (size_t i = 0; i < values.size(); ++i) {
    const float level = (values[i] - min) * inverse + zero;
    const float above = level > 0 ? level : 0;
    levels[i] = static_cast<int32_t>((above < last_level ? above : last_level) + 0.5f);
  }
  for (size_t i = 0; i < values.size(); ++i) codes[i] = static_cast<uint8_t>(levels[i]);
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
  for (size_t i = 0; i < given.size(); ++i) {
    values[i] = std::fabs(given[i]) < INFINITY ? given[i] : 0.0f;
  }
  const auto [least, most] = range_of(values);
  const float largest = most > -least ? most : least;  // in magnitude
  Group out{};
  if (format.table_levels) {
    quantize_e2m1_group(values, std::fabs(largest), out);
    return out;
  }
  const auto last_level = static_cast<float>((1 << format.bits) - 1);
  float min = 0, step = 0;
  if (format.has_min) {
    out.min = f16_within_range(least);
    min = f32_from_f16(out.min);
    step = (most - min) / last_level;
  } else if (format.bits == 8) {
    step = std::fabs(largest) / 127.0f;
  } else {
    // The level farthest from zero is the lowest one: the largest value gets it, whatever its sign.
    step = -largest / static_cast<float>(format.zero);
  }
  out.scale = f16_within_range(step);
  const float scale = f32_from_f16(out.scale);
  const float inverse = scale != 0 ? 1.0f / scale : 0.0f;
  put_levels(values, min, inverse, static_cast<float>(format.zero), last_level, out.codes);
  return out;
}

float group_scale(const GroupFormat& format, uint16_t scale_bits) {
  if (!format.power_scale) return f32_from_f16(scale_bits);
  return f32_from_half_e8m0(static_cast<uint8_t>(scale_bits));
}

float group_value(const GroupFormat& format, uint8_t code, float scale, float min) {
  const int level = format.table_levels ? kE2m1Levels[code] : code;
  return scale * static_cast<float>(level - format.zero) + min;
}

}  // namespace varve
