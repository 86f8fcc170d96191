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

void take_codes(const GroupFormat& format, const GroupRow& at, const std::byte* row, size_t g,
                Group& group) {
  if (format.bits == 8) {
    std::memcpy(group.codes.data(), row + g * kGroup, kGroup);
    return;
  }
  uint32_t high = 0;
  if (format.bits == 5) std::memcpy(&high, row + at.high_at + g * kHighBytes, kHighBytes);
  const auto code = [&](unsigned nibble, size_t i) {
    return static_cast<uint8_t>((nibble & 15u) | (high >> i & 1u) << 4);
  };
  for (size_t i = 0; i < kGroup / 2; ++i) {
    const auto byte = static_cast<unsigned>(row[g * kGroup / 2 + i]);
    group.codes[i] = code(byte, i);
    group.codes[i + kGroup / 2] = code(byte >> 4, i + kGroup / 2);
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

void decode_group_row(const GroupFormat& format, const RowShape& shape, const std::byte* row,
                      float* values) {
  const GroupRow at(format, shape);
  Group group{};
  for (size_t g = 0; g < at.n_groups; ++g) {
    take_codes(format, at, row, g, group);
    const std::byte* const scale_at = row + at.scales_at + g * format.scale_bytes();
    const float scale = group_scale(
        format, format.power_scale ? static_cast<uint16_t>(*scale_at) : load16(scale_at));
    const float min = format.has_min ? f32_from_f16(load16(row + at.mins_at + 2 * g)) : 0;
    const size_t n = std::min(kGroup, at.n_grouped - g * kGroup);
    for (size_t i = 0; i < n; ++i) {
      values[g * kGroup + i] = group_value(format, group.codes[i], scale, min);
    }
  }
  for (size_t i = at.n_grouped; i < static_cast<size_t>(shape.dim); ++i) {
    values[i] = f32_from_bf16(load16(row + at.bf16_at + 2 * (i - at.n_grouped)));
  }
}

}  // namespace varve
