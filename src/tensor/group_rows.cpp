#include <algorithm>
#include <cstring>

#include "tensor/codecs.h"
#include "tensor/groups.h"

namespace varve {
namespace {

constexpr size_t kGroup = kGroupValues;
constexpr size_t kHighBytes = kGroup / 8;

void store16(uint16_t bits, std::byte* to) {
  std::memcpy(to, &bits, sizeof bits);
}

uint16_t load16(const std::byte* from) {
  uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return bits;
}

void put_codes(const GroupFormat& format, const GroupRow& at, const Group& group, size_t g,
               std::byte* row) {
  if (format.bits == 8) {
    std::memcpy(row + g * kGroup, group.codes.data(), kGroup);
    return;
  }
  uint32_t high = 0;
  for (size_t i = 0; i < kGroup / 2; ++i) {
    const unsigned low_code = group.codes[i], high_code = group.codes[i + kGroup / 2];
    row[g * kGroup / 2 + i] = static_cast<std::byte>((low_code & 15u) | (high_code & 15u) << 4);
    high |= (low_code >> 4) << i | (high_code >> 4) << (i + kGroup / 2);
  }
  if (format.bits == 5) std::memcpy(row + at.high_at + g * kHighBytes, &high, kHighBytes);
}

void take_codes(const GroupFormat& format, const StoredGroup& group, uint8_t* codes) {
  if (format.bits == 8) {
    std::memcpy(codes, group.codes, kGroup);
    return;
  }
  const auto code = [&](unsigned nibble, size_t i) {
    return static_cast<uint8_t>((nibble & 15u) | (group.fifth >> i & 1u) << 4);
  };
  for (size_t i = 0; i < kGroup / 2; ++i) {
    codes[i] = code(group.codes[i], i);
    codes[i + kGroup / 2] = code(group.codes[i] >> 4u, i + kGroup / 2);
  }
}

}  // namespace

GroupRow::GroupRow(const GroupFormat& format, const RowShape& shape)
    : n_grouped(static_cast<size_t>(shape.dim - shape.rope_dim)),
      n_groups(static_cast<size_t>(row_groups(shape.dim - shape.rope_dim))),
      high_at(n_groups * kGroup * (format.bits == 8 ? 8 : 4) / 8),
      scales_at(high_at + (format.bits == 5 ? n_groups * kHighBytes : 0)),
      mins_at(scales_at + n_groups * format.scale_bytes()),
      bf16_at(mins_at + n_groups * format.min_bytes()),
      bytes(bf16_at + 2 * static_cast<size_t>(shape.rope_dim)) {}

size_t group_row_bytes(const GroupFormat& format, const RowShape& shape) {
  return GroupRow(format, shape).bytes;
}

void encode_group_row(const GroupFormat& format, const RowShape& shape, const float* values,
                      std::byte* row) {
  const GroupRow at(format, shape);
  for (size_t g = 0; g < at.n_groups; ++g) {
    const size_t n = std::min(kGroup, at.n_grouped - g * kGroup);
    const Group group = quantize_group(format, {values + g * kGroup, n});
    put_codes(format, at, group, g, row);
    if (format.power_scale) {
      row[at.scales_at + g] = static_cast<std::byte>(group.scale);
    } else {
      store16(group.scale, row + at.scales_at + 2 * g);
    }
    if (format.has_min) store16(group.min, row + at.mins_at + 2 * g);
  }
  for (size_t i = at.n_grouped; i < static_cast<size_t>(shape.dim); ++i) {
    store16(bf16_from_f32(values[i]), row + at.bf16_at + 2 * (i - at.n_grouped));
  }
}

StoredGroup stored_group(const GroupFormat& format, const GroupRow& at, const uint8_t* row,
                         size_t g) {
  StoredGroup out{row + g * (format.bits == 8 ? kGroup : kGroup / 2), 0, 0, 0};
  uint16_t scale = 0, min = 0;
  std::memcpy(&scale, row + at.scales_at + g * format.scale_bytes(), format.scale_bytes());
  std::memcpy(&min, row + at.mins_at + g * format.min_bytes(), format.min_bytes());
  if (format.bits == 5) {
    std::memcpy(&out.fifth, row + at.high_at + g * sizeof out.fifth, sizeof out.fifth);
  }
  out.scale = group_scale(format, scale);
  out.min = f32_from_f16(min);
  return out;
}

void decode_group_row(const GroupFormat& format, const RowShape& shape, const std::byte* row,
                      float* values) {
  const GroupRow at(format, shape);
  std::array<uint8_t, kGroupValues> codes;
  for (size_t g = 0; g < at.n_groups; ++g) {
    const StoredGroup group = stored_group(format, at, reinterpret_cast<const uint8_t*>(row), g);
    take_codes(format, group, codes.data());
    const size_t n = std::min(kGroup, at.n_grouped - g * kGroup);
    for (size_t i = 0; i < n; ++i) {
      values[g * kGroup + i] = group_value(format, codes[i], group.scale, group.min);
    }
  }
  for (size_t i = at.n_grouped; i < static_cast<size_t>(shape.dim); ++i) {
    values[i] = f32_from_bf16(load16(row + at.bf16_at + 2 * (i - at.n_grouped)));
  }
}

}  // namespace varve
