// Tiles of quantised keys and values (tensor/kv_tile.h) to f32, as decode_kv_row reads them: keys
// with a row a lane, values row by row.

#if defined(VARVE_SIMD_KV_TILE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef VARVE_SIMD_KV_TILE_INL_H
#undef VARVE_SIMD_KV_TILE_INL_H
#else
#define VARVE_SIMD_KV_TILE_INL_H
#endif

#include "kernels/simd_rows-inl.h"
#include "tensor/kv_tile.h"

HWY_BEFORE_NAMESPACE();
namespace varve {
namespace HWY_NAMESPACE {

static_assert(kKvTileRows == kLanes, "a tile's rows are the lanes of a sum");

/// Scales and minima of one group of a tile's rows, [kKvTileRows] each. Those of rows that nobody
/// has written may be anything.
struct KvGroupScales {
  float scales[kKvTileRows];
  float mins[kKvTileRows];
};

HWY_INLINE void load_group_scales(const GroupFormat& format, const KvTile& at,
                                  const std::byte* tile, size_t g, KvGroupScales& to) {
  const auto* const bytes = reinterpret_cast<const uint8_t*>(tile);
  const uint8_t* const scales = bytes + at.scales_at + g * kKvTileRows * format.scale_bytes();
  if (format.power_scale) {
    for (size_t r = 0; r < kKvTileRows; ++r) to.scales[r] = group_scale(format, scales[r]);
  } else {
    decode_values<CodecF16, false>(scales, kKvTileRows, 1, to.scales);
  }
  if (!format.has_min) return;
  decode_values<CodecF16, false>(bytes + at.mins_at + g * kKvTileRows * 2, kKvTileRows, 1, to.mins);
}

/// The codes of kLanes double words: byte `byte` of each, nibble `nibble` of it where codes have
/// fewer than 8 bits, bit 4 lane + byte of `fifth` above it.
HWY_INLINE VU kv_codes(const GroupFormat& format, const std::byte* words, size_t part, int byte,
                       bool high_nibble, uint64_t fifth) {
  const DU du;
  const hn::Repartition<uint8_t, DU> d8;
  const auto* const at = reinterpret_cast<const uint8_t*>(words) + part * kN * sizeof(uint32_t);
  const VU word = hn::BitCast(du, hn::LoadU(d8, at));
  if (format.bits == 8) {
    return hn::And(hn::ShiftRightSame(word, 8 * byte), hn::Set(du, 255u));
  }
  const int shift = 8 * byte + (high_nibble ? 4 : 0);
  const VU nibble = hn::And(hn::ShiftRightSame(word, shift), hn::Set(du, 15u));
  if (format.bits == 4) return nibble;
  uint32_t bits[kN];
  for (size_t i = 0; i < kN; ++i) {
    bits[i] = static_cast<uint32_t>(fifth >> (4 * (part * kN + i) + static_cast<size_t>(byte)) & 1u)
              << 4;
  }
  return hn::Or(nibble, hn::LoadU(du, bits));
}

HWY_INLINE uint64_t fifth_bits(const GroupFormat& format, const KvTile& at, const std::byte* tile,
                               size_t word) {
  uint64_t bits = 0;
  if (format.bits == 5) std::memcpy(&bits, tile + at.high_at + word * 8, sizeof bits);
  return bits;
}

/// to[d][r], d < padded_dim.
HWY_INLINE void decode_key_tile(const GroupFormat& format, const KvTile& at, const std::byte* tile,
                                float* to) {
  KvGroupScales scales{};
  const bool bytes = format.bits == 8;
  for (size_t quad = 0; quad < at.padded_dim / 4; ++quad) {
    if (quad % (kGroupValues / 4) == 0) {
      load_group_scales(format, at, tile, quad / (kGroupValues / 4), scales);
    }
    const std::byte* const words = tile + (bytes ? quad : quad / 2) * 4 * kKvTileRows;
    const uint64_t fifth = fifth_bits(format, at, tile, quad);
    for (int byte = 0; byte < 4; ++byte) {
      float* const out = to + (quad * 4 + static_cast<size_t>(byte)) * kKvTileRows;
      for (size_t part = 0; part < kParts; ++part) {
        const VU codes = kv_codes(format, words, part, byte, quad % 2 == 1, fifth);
        const VF scaled = hn::Mul(group_levels(format, codes), load(scales.scales + part * kN));
        store(format.has_min ? hn::Add(scaled, load(scales.mins + part * kN)) : scaled,
              out + part * kN);
      }
    }
  }
}

/// to[r][d], rows `stride` floats apart, d < padded_dim.
HWY_INLINE void decode_value_tile(const GroupFormat& format, const KvTile& at,
                                  const std::byte* tile, float* to, size_t stride) {
  KvGroupScales scales{};
  const bool bytes = format.bits == 8;
  for (size_t d = 0; d < at.padded_dim; d += kLanes) {
    if (d % kGroupValues == 0) load_group_scales(format, at, tile, d / kGroupValues, scales);
    for (size_t r = 0; r < kKvTileRows; ++r) {
      const size_t quad = r / 4;
      const std::byte* const words = tile + (bytes ? quad : quad / 2) * 4 * at.padded_dim + d * 4;
      const uint64_t fifth =
          fifth_bits(format, at, tile, quad * (at.padded_dim / kLanes) + d / kLanes);
      const VF scale = set(scales.scales[r]), min = set(scales.mins[r]);
      for (size_t part = 0; part < kParts; ++part) {
        const VU codes =
            kv_codes(format, words, part, static_cast<int>(r % 4), quad % 2 == 1, fifth);
        const VF scaled = hn::Mul(group_levels(format, codes), scale);
        store(format.has_min ? hn::Add(scaled, min) : scaled, to + r * stride + d + part * kN);
      }
    }
  }
}

/// scores[h][r] = scale * (q_h . key_r) of a tile's keys [dim][kKvTileRows], heads kAttendTile
/// scores apart; the terms of a sum in the order of the dimensions.
template <int H>
HWY_INLINE void score_key_tile(const float* q, size_t dim, const float* keys, float scale,
                               float* scores) {
  VF sum[H][kParts];
  for (int h = 0; h < H; ++h) {
    for (size_t part = 0; part < kParts; ++part) sum[h][part] = zero();
  }
  for (size_t d = 0; d < dim; ++d) {
    for (size_t part = 0; part < kParts; ++part) {
      const VF key = load(keys + d * kKvTileRows + part * kN);
      for (int h = 0; h < H; ++h) {
        sum[h][part] = hn::MulAdd(key, set(q[static_cast<size_t>(h) * dim + d]), sum[h][part]);
      }
    }
  }
  for (int h = 0; h < H; ++h) {
    for (size_t part = 0; part < kParts; ++part) {
      store(hn::Mul(sum[h][part], set(scale)), scores + h * kAttendTile + part * kN);
    }
  }
}

HWY_INLINE void score_key_tile_heads(const float* q, int n_heads, size_t dim, const float* keys,
                                     float scale, float* scores) {
  int h = 0;
  for (; h + 4 <= n_heads; h += 4) {
    score_key_tile<4>(q + static_cast<size_t>(h) * dim, dim, keys, scale, scores + h * kAttendTile);
  }
  for (; h < n_heads; ++h) {
    score_key_tile<1>(q + static_cast<size_t>(h) * dim, dim, keys, scale, scores + h * kAttendTile);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace varve
HWY_AFTER_NAMESPACE();

#endif  // VARVE_SIMD_KV_TILE_INL_H
