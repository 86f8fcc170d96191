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

template <KvSide kSide, int kBits>
CodePlace place(size_t padded, size_t d, size_t r) {
  constexpr bool kNibbles = kBits != 8;
  if constexpr (kSide == KvSide::keys) {
    const size_t in_quad = r * 4 + d % 4;
    return {(kNibbles ? d / 8 : d / 4) * 4 * kRows + in_quad, d / 4 % 2 == 1, d / 4,
            static_cast<unsigned>(in_quad)};
  } else {
    return {(kNibbles ? r / 8 : r / 4) * 4 * padded + d * 4 + r % 4, r / 4 % 2 == 1,
            r / 4 * (padded / 16) + d / 16, static_cast<unsigned>(d % 16 * 4 + r % 4)};
  }
}

template <KvSide kSide, int kBits>
void put_codes(const KvTile& at, const Group& group, size_t g, size_t r, std::byte* tile) {
  for (size_t i = 0; i < kGroupValues; ++i) {
    const CodePlace to = place<kSide, kBits>(at.padded_dim, g * kGroupValues + i, r);
    const uint8_t code = group.codes[i];
    if constexpr (kBits == 8) {
      tile[to.byte] = std::byte{code};
      continue;
    }
    const std::byte nibble{static_cast<uint8_t>(code & 15)};
    tile[to.byte] = to.high_nibble ? (tile[to.byte] & std::byte{15}) | nibble << 4
                                   : (tile[to.byte] & std::byte{0xF0}) | nibble;
    if constexpr (kBits == 5) {
      std::byte& bits = tile[at.high_at + to.word * 8 + to.bit / 8];
      const std::byte mask{static_cast<uint8_t>(1u << to.bit % 8)};
      bits = (code & 16) != 0 ? bits | mask : bits & ~mask;
    }
  }
}

template <KvSide kSide, int kBits>
void take_codes(const KvTile& at, const std::byte* tile, size_t g, size_t r, Group& group) {
  for (size_t i = 0; i < kGroupValues; ++i) {
    const CodePlace from = place<kSide, kBits>(at.padded_dim, g * kGroupValues + i, r);
    auto code = static_cast<unsigned>(tile[from.byte]);
    if constexpr (kBits != 8) code = from.high_nibble ? code >> 4 : code & 15u;
    if constexpr (kBits == 5) {
      const auto bits = static_cast<unsigned>(tile[at.high_at + from.word * 8 + from.bit / 8]);
      code |= (bits >> from.bit % 8 & 1u) << 4;
    }
    group.codes[i] = static_cast<uint8_t>(code);
  }
}

// Calls f.operator()<side, bits>().
template <class F>
void with_kind(KvSide side, int bits, F f) {
  const auto with_bits = [&]<KvSide kSide>() {
    if (bits == 8) {
      f.template operator()<kSide, 8>();
    } else if (bits == 5) {
      f.template operator()<kSide, 5>();
    } else {
      f.template operator()<kSide, 4>();
    }
  };
  if (side == KvSide::keys) {
    with_bits.template operator()<KvSide::keys>();
  } else {
    with_bits.template operator()<KvSide::values>();
  }
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
    with_kind(side, format.bits,
              [&]<KvSide kSide, int kBits>() { put_codes<kSide, kBits>(at, group, g, row, tile); });
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
  Group group{};
  for (size_t g = 0; g < at.n_groups; ++g) {
    std::memcpy(&group.scale, tile + at.scales_at + (g * kRows + row) * format.scale_bytes(),
                format.scale_bytes());
    std::memcpy(&group.min, tile + at.mins_at + (g * kRows + row) * format.min_bytes(),
                format.min_bytes());
    with_kind(side, format.bits, [&]<KvSide kSide, int kBits>() {
      take_codes<kSide, kBits>(at, tile, g, row, group);
    });
    const float scale = group_scale(format, group.scale);
    const float min = format.has_min ? f32_from_f16(group.min) : 0;
    const size_t first = g * kGroupValues;
    for (size_t i = 0; i < std::min<size_t>(kGroupValues, static_cast<size_t>(head_dim) - first);
         ++i) {
      values[first + i] = group_value(format, group.codes[i], scale, min);
    }
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
