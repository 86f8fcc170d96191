// Quantised keys and values (tensor/kv_tile.h) in exact integer dots, straight from their tiles.
//
// A query becomes 16-bit whole numbers under one scale, a tile's exp(s - max) times the rows'
// scales 16-bit whole numbers under one scale a group; both enter as two signed bytes, x = 256 high
// + low. Sums of bytes are exact, so their order is free; what follows them is f32 in a fixed
// order.
#pragma once

#include "kernels/x86_avx512bf16_attend-inl.h"
#include "tensor/kv_tile.h"

namespace varve {

// The largest whole number whose high byte is at most 127.
inline constexpr float kLargestWhole = 32512;
// Heads side by side.
inline constexpr size_t kWholeHeads = 4;
inline constexpr size_t kRowTiles = kTile / kKvTileRows;

/// high and low bytes of 16 whole numbers, in order.
struct BytePairs {
  __m128i high, low;
};
VARVE_INLINE BytePairs byte_pairs(__m512i whole) {
  const __m512i up = _mm512_add_epi32(whole, _mm512_set1_epi32(128));
  return {_mm512_cvtepi32_epi8(_mm512_srai_epi32(up, 8)), _mm512_cvtepi32_epi8(whole)};
}

VARVE_INLINE __m512i whole_sum(__m512i high, __m512i low) {
  return _mm512_add_epi32(_mm512_slli_epi32(high, 8), low);
}

// ---- tiles

/// How a format's tiles are read.
struct TileReader {
  TileReader(const GroupFormat& group_format, int head_dim)
      : format(group_format), at(group_format, head_dim), tile_bytes(at.bytes) {}

  const GroupFormat& format;
  KvTile at;
  size_t tile_bytes;
};

/// Levels of 64 nibbles.
template <bool kTable>
VARVE_INLINE __m512i levels_of(__m512i nibbles) {
  if constexpr (!kTable) return nibbles;
  const __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(kE2m1Levels.data()));
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), nibbles);
}

struct Quads {
  __m512i first, second;
};
/// The levels of two quads (of dimensions, or of rows): bytes from two vectors; nibbles of one,
/// with a fifth bit from two words where there is one.
template <int kBits, bool kTable>
VARVE_INLINE Quads load_quads(const std::byte* codes, size_t second_at, const std::byte* fifth,
                              size_t second_fifth_at) {
  if constexpr (kBits == 8) {
    return {_mm512_loadu_si512(codes), _mm512_loadu_si512(codes + second_at)};
  }
  const __m512i both = _mm512_loadu_si512(codes);
  const __m512i low_four = _mm512_set1_epi8(15);
  Quads out{_mm512_and_si512(both, low_four),
            _mm512_and_si512(_mm512_srli_epi16(both, 4), low_four)};
  if constexpr (kBits == 5) {
    uint64_t first_bits, second_bits;
    std::memcpy(&first_bits, fifth, sizeof first_bits);
    std::memcpy(&second_bits, fifth + second_fifth_at, sizeof second_bits);
    const __m512i sixteen = _mm512_set1_epi8(16);
    out.first = _mm512_mask_add_epi8(out.first, first_bits, out.first, sixteen);
    out.second = _mm512_mask_add_epi8(out.second, second_bits, out.second, sixteen);
  }
  return {levels_of<kTable>(out.first), levels_of<kTable>(out.second)};
}

/// Scales (or minima) of one group of a tile of rows, zero for rows that are not in `some`.
VARVE_INLINE __m512 load_scales(const TileReader& reader, const std::byte* tile, size_t g,
                                bool minima, __mmask16 some) {
  const GroupFormat& format = reader.format;
  if (!minima && format.power_scale) {
    const __m128i bytes = _mm_loadu_si128(
        reinterpret_cast<const __m128i*>(tile + reader.at.scales_at + g * kKvTileRows));
    const __m512i exponents = _mm512_slli_epi32(_mm512_cvtepu8_epi32(bytes), 23);
    return _mm512_maskz_mul_ps(some, _mm512_castsi512_ps(exponents), _mm512_set1_ps(0.5f));
  }
  const size_t at = minima ? reader.at.mins_at : reader.at.scales_at;
  const __m256i halves =
      _mm256_loadu_si256(reinterpret_cast<const __m256i*>(tile + at + g * kKvTileRows * 2));
  return _mm512_maskz_cvtph_ps(some, halves);
}

// ---- scores

/// A chunk's queries as whole numbers.
struct WholeQueries {
  int32_t* high;  // [chunk, padded / 4]: four bytes each
  int32_t* low;
  float* sums;    // [chunk, n_groups]: of a group's whole numbers
  float* scales;  // [chunk]
};

/// q [dim] of head h.
VARVE_TARGET inline void put_query(const float* q, size_t dim, size_t padded, size_t h,
                                   const WholeQueries& to) {
  const auto part = [&](size_t d) VARVE_TARGET {
    const size_t n = d < dim ? std::min(dim - d, kLanes) : 0;
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), q + std::min(d, dim));
  };
  __m512 most = _mm512_setzero_ps();
  for (size_t d = 0; d < padded; d += kLanes) most = _mm512_max_ps(most, _mm512_abs_ps(part(d)));
  const float largest = _mm512_reduce_max_ps(most);
  const float inverse = largest > 0 ? kLargestWhole / largest : 0;
  to.scales[h] = largest / kLargestWhole;
  for (size_t d = 0; d < padded; d += kGroupValues) {
    __m512i sum = _mm512_setzero_si512();
    for (size_t i = d; i < d + kGroupValues; i += kLanes) {
      const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(part(i), _mm512_set1_ps(inverse)));
      sum = _mm512_add_epi32(sum, whole);
      const BytePairs bytes = byte_pairs(whole);
      const size_t quad = (h * padded + i) / 4;
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to.high + quad), bytes.high);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to.low + quad), bytes.low);
    }
    to.sums[(h * padded + d) / kGroupValues] = static_cast<float>(_mm512_reduce_add_epi32(sum));
  }
}

/// scores[h][r] = scale * (q_h . key_r) of a tile of rows, heads kTile scores apart.
template <size_t H, int kBits, bool kTable>
VARVE_TARGET inline void score_tile(const TileReader& reader, const std::byte* tile,
                                    const WholeQueries& q, size_t first_head, float scale,
                                    float* scores) {
  constexpr size_t kGroupQuads = kGroupValues / 4;
  const size_t n_quads = reader.at.padded_dim / 4;
  const std::byte* const fifth = tile + reader.at.high_at;
  __m512 sums[H];
  for (auto& sum : sums) sum = _mm512_setzero_ps();
  for (size_t g = 0; g < reader.at.n_groups; ++g) {
    __m512i high[H], low[H];
    for (size_t h = 0; h < H; ++h) high[h] = low[h] = _mm512_setzero_si512();
    for (size_t quad = g * kGroupQuads; quad < (g + 1) * kGroupQuads; quad += 2) {
      const Quads keys = load_quads<kBits, kTable>(tile + (kBits == 8 ? quad : quad / 2) * 64, 64,
                                                   fifth + quad * 8, 8);
      for (size_t h = 0; h < H; ++h) {
        const size_t at = (first_head + h) * n_quads + quad;
        high[h] = _mm512_dpbusd_epi32(high[h], keys.first, _mm512_set1_epi32(q.high[at]));
        low[h] = _mm512_dpbusd_epi32(low[h], keys.first, _mm512_set1_epi32(q.low[at]));
        high[h] = _mm512_dpbusd_epi32(high[h], keys.second, _mm512_set1_epi32(q.high[at + 1]));
        low[h] = _mm512_dpbusd_epi32(low[h], keys.second, _mm512_set1_epi32(q.low[at + 1]));
      }
    }
    const __m512 scales = load_scales(reader, tile, g, false, 0xFFFF);
    for (size_t h = 0; h < H; ++h) {
      const float q_sum = q.sums[(first_head + h) * reader.at.n_groups + g];
      const __m512i zeros = _mm512_set1_epi32(static_cast<int>(q_sum) * reader.format.zero);
      const __m512i dot = _mm512_sub_epi32(whole_sum(high[h], low[h]), zeros);
      sums[h] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scales, sums[h]);
      if (reader.format.has_min) {
        sums[h] = _mm512_fmadd_ps(load_scales(reader, tile, g, true, 0xFFFF), _mm512_set1_ps(q_sum),
                                  sums[h]);
      }
    }
  }
  for (size_t h = 0; h < H; ++h) {
    const __m512 factor = _mm512_set1_ps(q.scales[first_head + h] * scale);
    _mm512_storeu_ps(scores + h * kTile, _mm512_mul_ps(sums[h], factor));
  }
}

using WholeScore = void (*)(const TileReader& reader, const std::byte* tile, const WholeQueries& q,
                            size_t first_head, float scale, float* scores);

// ---- values

/// What the heads of one pass add up with: exp(s - max) times the scales of a group's rows.
struct WholeWeights {
  int32_t* high;   // [kWholeHeads, n_groups, kTile / 4]: four rows' bytes each
  int32_t* low;    // the same
  int32_t* zeros;  // [kWholeHeads, n_groups]: what the level of zero adds
  float* mins;     // [kWholeHeads, n_groups]: what the minima add
  float* scales;   // [kWholeHeads, n_groups]
};

/// Scales of a tile's rows [0, n), minima, 0 for those behind them; and the largest of each group's
/// magnitudes.
struct TileScales {
  float* scales;   // [n_groups, kTile], over the largest
  float* mins;     // [n_groups, kTile]
  float* largest;  // [n_groups]
};

VARVE_TARGET inline void put_scales(const TileReader& reader, const std::byte* run, size_t n,
                                    const TileScales& to) {
  for (size_t g = 0; g < reader.at.n_groups; ++g) {
    __m512 scales[kRowTiles];
    __m512 most = _mm512_setzero_ps();
    for (size_t i = 0; i < kRowTiles; ++i) {
      const size_t rows = n > i * kLanes ? std::min(kLanes, n - i * kLanes) : 0;
      scales[i] = _mm512_setzero_ps();
      if (reader.format.has_min) _mm512_storeu_ps(to.mins + g * kTile + i * kLanes, scales[i]);
      if (rows == 0) continue;
      const auto some = static_cast<__mmask16>((1u << rows) - 1);
      const std::byte* const tile = run + i * reader.tile_bytes;
      scales[i] = load_scales(reader, tile, g, false, some);
      most = _mm512_max_ps(most, _mm512_abs_ps(scales[i]));
      if (!reader.format.has_min) continue;
      _mm512_storeu_ps(to.mins + g * kTile + i * kLanes, load_scales(reader, tile, g, true, some));
    }
    const float largest = _mm512_reduce_max_ps(most);
    const __m512 inverse = _mm512_set1_ps(largest > 0 ? 1 / largest : 0);
    to.largest[g] = largest;
    for (size_t i = 0; i < kRowTiles; ++i) {
      _mm512_storeu_ps(to.scales + g * kTile + i * kLanes, _mm512_mul_ps(scales[i], inverse));
    }
  }
}

/// p [kTile], 0 for rows that the head does not see, as the weights of head h of a pass over n
/// rows. `of_tile` is of the rows up to the last that it sees: what it sees alone decides what it
/// gets.
VARVE_TARGET inline void put_weights(const TileReader& reader, const float* p, size_t n,
                                     const TileScales& of_tile, size_t h, const WholeWeights& to) {
  const size_t n_row_tiles = (n + kLanes - 1) / kLanes;
  __m512 weights[kRowTiles];
  __m512 most = _mm512_setzero_ps();
  for (size_t i = 0; i < n_row_tiles; ++i) {
    weights[i] = _mm512_loadu_ps(p + i * kLanes);
    most = _mm512_max_ps(most, weights[i]);
  }
  const float largest = _mm512_reduce_max_ps(most);
  const __m512 up = _mm512_set1_ps(largest > 0 ? kLargestWhole / largest : 0);
  for (size_t g = 0; g < reader.at.n_groups; ++g) {
    const size_t group = h * reader.at.n_groups + g;
    __m512i sum = _mm512_setzero_si512();
    __m512 min = _mm512_setzero_ps();
    for (size_t i = 0; i < n_row_tiles; ++i) {
      const size_t row = g * kTile + i * kLanes;
      const __m512i whole = _mm512_cvtps_epi32(
          _mm512_mul_ps(_mm512_mul_ps(weights[i], up), _mm512_loadu_ps(of_tile.scales + row)));
      sum = _mm512_add_epi32(sum, whole);
      const BytePairs bytes = byte_pairs(whole);
      const size_t quad = group * kTile / 4 + i * kLanes / 4;
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to.high + quad), bytes.high);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to.low + quad), bytes.low);
      if (!reader.format.has_min) continue;
      min = _mm512_fmadd_ps(weights[i], _mm512_loadu_ps(of_tile.mins + row), min);
    }
    to.zeros[group] = _mm512_reduce_add_epi32(sum) * reader.format.zero;
    to.mins[group] = reader.format.has_min ? _mm512_reduce_add_ps(min) : 0;
    to.scales[group] = largest * of_tile.largest[g] / kLargestWhole;
  }
}

/// out[h][d] = shrink_h * it + sum over the rows of a tile of weight_h[k] * value_k[d], for the
/// kGroupValues dimensions of group g. Heads lie kBlockDims floats apart.
template <size_t H, int kBits, bool kTable>
VARVE_TARGET inline void value_group(const TileReader& reader, const std::byte* run, size_t n,
                                     const WholeWeights& weights, const float* shrink, size_t g,
                                     float* out) {
  constexpr size_t kVectorsOfGroup = kGroupValues / kLanes;
  const size_t padded = reader.at.padded_dim;
  __m512i high[H][kVectorsOfGroup], low[H][kVectorsOfGroup];
  for (size_t h = 0; h < H; ++h) {
    for (size_t v = 0; v < kVectorsOfGroup; ++v) high[h][v] = low[h][v] = _mm512_setzero_si512();
  }
  // Two quads of rows at a time: a tile has four, so that none lies beyond the rows' last tile.
  for (size_t quad = 0; quad * 4 < n; quad += 2) {
    const std::byte* const tile = run + quad / 4 * reader.tile_bytes;
    const size_t in_tile = quad % 4;
    for (size_t v = 0; v < kVectorsOfGroup; ++v) {
      const size_t d = g * kGroupValues + v * kLanes;
      const std::byte* const codes = tile + ((kBits == 8 ? in_tile : in_tile / 2) * padded + d) * 4;
      const std::byte* const fifth =
          tile + reader.at.high_at + (in_tile * (padded / kLanes) + d / kLanes) * 8;
      const Quads values = load_quads<kBits, kTable>(codes, padded * 4, fifth, padded / kLanes * 8);
      for (size_t h = 0; h < H; ++h) {
        const size_t at = (h * reader.at.n_groups + g) * kTile / 4 + quad;
        const auto add = [&](__m512i sum, __m512i rows, const int32_t* bytes) VARVE_TARGET {
          return _mm512_dpbusd_epi32(sum, rows, _mm512_set1_epi32(*bytes));
        };
        high[h][v] = add(high[h][v], values.first, weights.high + at);
        low[h][v] = add(low[h][v], values.first, weights.low + at);
        high[h][v] = add(high[h][v], values.second, weights.high + at + 1);
        low[h][v] = add(low[h][v], values.second, weights.low + at + 1);
      }
    }
  }
  for (size_t h = 0; h < H; ++h) {
    const size_t group = h * reader.at.n_groups + g;
    const __m512i zeros = _mm512_set1_epi32(weights.zeros[group]);
    const __m512 scale = _mm512_set1_ps(weights.scales[group]);
    const __m512 min = _mm512_set1_ps(weights.mins[group]);
    for (size_t v = 0; v < kVectorsOfGroup; ++v) {
      float* const to = out + h * kBlockDims + v * kLanes;
      const __m512 before = _mm512_fmadd_ps(_mm512_loadu_ps(to), _mm512_set1_ps(shrink[h]), min);
      const __m512i dot = _mm512_sub_epi32(whole_sum(high[h][v], low[h][v]), zeros);
      _mm512_storeu_ps(to, _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, before));
    }
  }
}

using WholeValue = void (*)(const TileReader& reader, const std::byte* run, size_t n,
                            const WholeWeights& weights, const float* shrink, size_t g, float* out);

// By heads, 1 to kWholeHeads.
template <int kBits, bool kTable>
inline constexpr WholeScore kWholeScores[] = {
    score_tile<1, kBits, kTable>, score_tile<2, kBits, kTable>, score_tile<3, kBits, kTable>,
    score_tile<4, kBits, kTable>};
template <int kBits, bool kTable>
inline constexpr WholeValue kWholeValues[] = {
    value_group<1, kBits, kTable>, value_group<2, kBits, kTable>, value_group<3, kBits, kTable>,
    value_group<4, kBits, kTable>};

inline const WholeScore* whole_scores(const GroupFormat& format) {
  if (format.bits == 8) return kWholeScores<8, false>;
  if (format.bits == 5) return kWholeScores<5, false>;
  return format.table_levels ? kWholeScores<4, true> : kWholeScores<4, false>;
}
inline const WholeValue* whole_values(const GroupFormat& format) {
  if (format.bits == 8) return kWholeValues<8, false>;
  if (format.bits == 5) return kWholeValues<5, false>;
  return format.table_levels ? kWholeValues<4, true> : kWholeValues<4, false>;
}

}  // namespace varve
