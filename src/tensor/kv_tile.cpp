#include "tensor/kv_tile.h"

#include <algorithm>
#include <cstring>

#include "tensor/codecs.h"

namespace varve {
namespace {

constexpr size_t kRows = kKvTileRows;

// Where a code lies: a byte, whether the high nibble, and its fifth bit's word and place.
struct CodePlace {
  size_t byte;
  bool high_nibble;
  size_t word;
  unsigned bit;
};

CodePlace key_place(bool nibbles, size_t d, size_t r) {
  const size_t in_quad = r * 4 + d % 4;
  return {(nibbles ? d / 8 : d / 4) * 4 * kRows + in_quad, d / 4 % 2 == 1, d / 4,
          static_cast<unsigned>(in_quad)};
}

CodePlace value_place(bool nibbles, size_t padded, size_t d, size_t r) {
  return {(nibbles ? r / 8 : r / 4) * 4 * padded + d * 4 + r % 4, r / 4 % 2 == 1,
          r / 4 * (padded / 16) + d / 16, static_cast<unsigned>(d % 16 * 4 + r % 4)};
}

CodePlace place(KvSide side, bool nibbles, size_t padded, size_t d, size_t r) {
  return side == KvSide::keys ? key_place(nibbles, d, r) : value_place(nibbles, padded, d, r);
}

void put_code(const GroupFormat& format, const CodePlace& at, uint8_t code, std::byte* tile,
              std::byte* high) {
  if (format.bits == 8) {
    tile[at.byte] = std::byte{code};
    return;
  }
  const std::byte nibble{static_cast<uint8_t>(code & 15)};
  tile[at.byte] = at.high_nibble ? (tile[at.byte] & std::byte{15}) | nibble << 4
                                 : (tile[at.byte] & std::byte{0xF0}) | nibble;
  if (format.bits != 5) return;
  std::byte& bits = high[at.word * 8 + at.bit / 8];
  const std::byte mask{static_cast<uint8_t>(1u << at.bit % 8)};
  bits = (code & 16) != 0 ? bits | mask : bits & ~mask;
}

uint8_t take_code(const GroupFormat& format, const CodePlace& at, const std::byte* tile,
                  const std::byte* high) {
  const auto byte = static_cast<unsigned>(tile[at.byte]);
  if (format.bits == 8) return static_cast<uint8_t>(byte);
  unsigned code = at.high_nibble ? byte >> 4 : byte & 15u;
  if (format.bits == 5) {
    code |= (static_cast<unsigned>(high[at.word * 8 + at.bit / 8]) >> at.bit % 8 & 1u) << 4;
  }
  return static_cast<uint8_t>(code);
}

}  // namespace

KvTile::KvTile(const GroupFormat& format, int head_dim)
    : n_groups(static_cast<size_t>(row_groups(head_dim))),
      padded_dim(n_groups * kGroupValues),
      high_at(padded_dim * kRows * (format.bits == 8 ? 8 : 4) / 8),
      scales_at(high_at + (format.bits == 5 ? padded_dim * kRows / 8 : 0)),
      mins_at(scales_at + n_groups * kRows * format.scale_bytes()),
      bytes(mins_at + n_groups * kRows * format.min_bytes()) {}

void encode_kv_row(const GroupFormat& format, KvSide side, int head_dim, const float* values, int r,
                   std::byte* tile) {
  const KvTile at(format, head_dim);
  const auto row = static_cast<size_t>(r), dim = static_cast<size_t>(head_dim);
  for (size_t g = 0; g < at.n_groups; ++g) {
    const size_t first = g * kGroupValues;
    const Group group =
        quantize_group(format, {values + first, std::min<size_t>(kGroupValues, dim - first)});
    for (size_t i = 0; i < kGroupValues; ++i) {
      put_code(format, place(side, format.bits != 8, at.padded_dim, first + i, row), group.codes[i],
               tile, tile + at.high_at);
    }
    std::memcpy(tile + at.scales_at + (g * kRows + row) * format.scale_bytes(), &group.scale,
                format.scale_bytes());
    std::memcpy(tile + at.mins_at + (g * kRows + row) * format.min_bytes(), &group.min,
                format.min_bytes());
  }
}

void decode_kv_row(const GroupFormat& format, KvSide side, int head_dim, const std::byte* tile,
                   int r, float* values) {
  const KvTile at(format, head_dim);
  const auto row = static_cast<size_t>(r);
  for (size_t d = 0; d < static_cast<size_t>(head_dim); ++d) {
    const size_t g = d / kGroupValues;
    uint16_t scale = 0, min = 0;
    std::memcpy(&scale, tile + at.scales_at + (g * kRows + row) * format.scale_bytes(),
                format.scale_bytes());
    std::memcpy(&min, tile + at.mins_at + (g * kRows + row) * format.min_bytes(),
                format.min_bytes());
    const uint8_t code = take_code(format, place(side, format.bits != 8, at.padded_dim, d, row),
                                   tile, tile + at.high_at);
    values[d] = group_value(format, code, group_scale(format, scale),
                            format.has_min ? f32_from_f16(min) : 0);
  }
}

void store_kv_row(RowFormat format, KvSide side, const RowShape& shape, const float* values, int r,
                  std::byte* run) {
  const size_t bytes = row_bytes(format, shape);
  if (const GroupFormat* const groups = group_format(format)) {
    std::byte* const tile = run + static_cast<size_t>(r / kKvTileRows) * kRows * bytes;
    encode_kv_row(*groups, side, shape.dim, values, r % kKvTileRows, tile);
  } else {
    encode_row(format, shape, values, run + static_cast<size_t>(r) * bytes);
  }
}

void load_kv_row(RowFormat format, KvSide side, const RowShape& shape, const std::byte* run, int r,
                 float* values) {
  const size_t bytes = row_bytes(format, shape);
  if (const GroupFormat* const groups = group_format(format)) {
    const std::byte* const tile = run + static_cast<size_t>(r / kKvTileRows) * kRows * bytes;
    decode_kv_row(*groups, side, shape.dim, tile, r % kKvTileRows, values);
  } else {
    decode_row(format, shape, run + static_cast<size_t>(r) * bytes, values);
  }
}

}  // namespace varve
