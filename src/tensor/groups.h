// Group formats of cache rows: 32 values share a scale, some a minimum.
//
//   value = scale * (level - zero) + minimum,  level = code, or a table's entry (mxfp4)
//
// Scales and minima are f16, of mxfp4 the scale is a power of two (e8m0). A value that is stored is
// the nearest of those that the rounded scale and minimum allow. A group is quantised from its own
// values alone.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/blocks.h"
#include "tensor/row_format.h"

namespace varve {

inline constexpr int kGroupValues = 32;

struct GroupFormat {
  int bits;           // of a code: 4, 5, 8
  int zero;           // the level that stands for 0
  bool has_min;       // a minimum is stored, f16
  bool power_scale;   // the scale is one byte, e8m0 / 2; else f16
  bool table_levels;  // levels are kE2m1Levels[code]

  size_t scale_bytes() const { return power_scale ? 1 : 2; }
  size_t min_bytes() const { return has_min ? 2 : 0; }
  /// Bytes of a group: codes, scale, minimum.
  size_t bytes() const {
    return static_cast<size_t>(bits * kGroupValues / 8) + scale_bytes() + min_bytes();
  }
};

/// Twice the e2m1 values, moved up by 12: what a code of mxfp4 stands for.
inline constexpr std::array<uint8_t, 16> kE2m1Levels = [] {
  std::array<uint8_t, 16> levels{};
  for (size_t code = 0; code < levels.size(); ++code) {
    levels[code] = static_cast<uint8_t>(12 + kTwiceE2m1Values[code]);
  }
  return levels;
}();

/// Null for formats that are not kept in groups.
const GroupFormat* group_format(RowFormat format);

constexpr int row_groups(int n_values) {
  return (n_values + kGroupValues - 1) / kGroupValues;
}

struct Group {
  std::array<uint8_t, kGroupValues> codes;
  uint16_t scale;  // bits of an f16; of a power scale its byte
  uint16_t min;    // bits of an f16
};

/// values: at most kGroupValues; those that are missing and what is no finite number count as 0.
Group quantize_group(const GroupFormat& format, std::span<const float> values);

float group_scale(const GroupFormat& format, uint16_t scale_bits);

/// The value of a code.
float group_value(const GroupFormat& format, uint8_t code, float scale, float min);

// ---- rows of groups, as row_format.h describes them

size_t group_row_bytes(const GroupFormat& format, const RowShape& shape);
void encode_group_row(const GroupFormat& format, const RowShape& shape, const float* values,
                      std::byte* row);
void decode_group_row(const GroupFormat& format, const RowShape& shape, const std::byte* row,
                      float* values);

/// Where the parts of such a row begin.
struct GroupRow {
  GroupRow(const GroupFormat& format, const RowShape& shape);
  size_t n_grouped;  // values
  size_t n_groups;
  size_t high_at, scales_at, mins_at, bf16_at, bytes;
};

/// One group of a stored row: its bytes or nibbles, the fifth bits (0 where there are none), what
/// they are multiplied by and what is added (0 where nothing is).
struct StoredGroup {
  const uint8_t* codes;
  uint32_t fifth;
  float scale;
  float min;
};
StoredGroup stored_group(const GroupFormat& format, const GroupRow& at, const uint8_t* row,
                         size_t g);

}  // namespace varve
