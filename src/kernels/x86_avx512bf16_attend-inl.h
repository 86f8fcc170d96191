// What attention by AVX512-BF16 dots is made of: a tile of rows laid out for the two products, the
// products, the running softmax.
#pragma once

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/x86_avx512bf16-inl.h"

namespace varve {

inline constexpr size_t kTile = kAttendTile;
// Heads that share one pass over the rows.
inline constexpr size_t kChunkHeads = 128;
// Heads times vectors that are summed side by side: as many as leave registers for the operands.
inline constexpr size_t kHeads = 6;
inline constexpr size_t kVectors = 4;
// Dimensions of a block of values: its part of a tile stays in the first cache for all heads.
inline constexpr size_t kBlockDims = kVectors * kLanes;
inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

inline constexpr size_t round_up(size_t n, size_t to) {
  return (n + to - 1) / to * to;
}

/// Loaded here, not by every instruction that uses it: loads would be what binds.
VARVE_INLINE __m512i load_once(const uint32_t* p) {
  __m512i v = _mm512_loadu_si512(p);
  __asm__("" : "+v"(v));
  return v;
}

/// exp of simd_vector-inl.h.
VARVE_INLINE __m512 exp(__m512 x) {
  const __m512 bounded =
      _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-104.0f)), _mm512_set1_ps(89.0f));
  const __m512i n = _mm512_cvtps_epi32(_mm512_mul_ps(bounded, _mm512_set1_ps(1.44269504f)));
  const __m512 nf = _mm512_cvtepi32_ps(n);
  __m512 r = _mm512_fnmadd_ps(nf, _mm512_set1_ps(0.693359375f), bounded);
  r = _mm512_fnmadd_ps(nf, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.9875691500e-4f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
  p = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.0f));
  p = _mm512_scalef_ps(p, nf);
  return _mm512_mask_mov_ps(p, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), x);
}

// ---- rows

/// to[0, n) = the bf16 values at p; then zeros up to a whole vector.
VARVE_INLINE void copy_bf16(const uint8_t* p, size_t n, uint16_t* to) {
  for (size_t i = 0; i < n; i += kStep) {
    const __mmask32 some = n - i >= kStep ? ~__mmask32{0} : (__mmask32{1} << (n - i)) - 1;
    _mm512_storeu_si512(to + i, _mm512_maskz_loadu_epi16(some, p + 2 * i));
  }
}

// A tile of rows as the two products read it, a double word being a pair of bf16 values.
struct Tile {
  uint32_t* keys;    // [padded / 2][kTile]: pairs of dimensions, a row a lane
  uint32_t* values;  // [padded / kBlockDims][kTile / 2][kBlockDims]: pairs of rows
};

/// r: dimensions [d, d + kStep) of rows [k0, k0 + kLanes).
VARVE_INLINE void put_values(const Tile& tile, size_t d, size_t k0, const __m512i (&r)[kLanes]) {
  const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8,
                                       39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  uint32_t* const values =
      tile.values + (d / kBlockDims * (kTile / 2) + k0 / 2) * kBlockDims + d % kBlockDims;
  for (size_t i = 0; i < kLanes / 2; ++i) {
    uint32_t* const to = values + i * kBlockDims;
    _mm512_storeu_si512(to, _mm512_permutex2var_epi16(r[2 * i], low, r[2 * i + 1]));
    _mm512_storeu_si512(to + kLanes, _mm512_permutex2var_epi16(r[2 * i], high, r[2 * i + 1]));
  }
}

/// The same; r is scratch afterwards.
VARVE_INLINE void put_keys(const Tile& tile, size_t d, size_t k0, __m512i (&r)[kLanes]) {
  transpose(r);
  for (size_t i = 0; i < kLanes; ++i) {
    _mm512_storeu_si512(tile.keys + (d / 2 + i) * kTile + k0, r[i]);
  }
}

// ---- products

/// sums[H][V] += over i < n of left[h][i] * right[i][v], pairs of bf16 values; left H rows of
/// double words, right n rows of V vectors.
template <size_t H, size_t V>
VARVE_INLINE void multiply(const uint32_t* left, size_t left_stride, const uint32_t* right,
                           size_t right_stride, size_t n, __m512 (&sums)[H][V]) {
  for (size_t i = 0; i < n; ++i, right += right_stride) {
    __m512i r[V];
    for (size_t v = 0; v < V; ++v) r[v] = load_once(right + v * kLanes);
    for (size_t h = 0; h < H; ++h) {
      const __m512i l = _mm512_set1_epi32(static_cast<int>(left[h * left_stride + i]));
      for (size_t v = 0; v < V; ++v) sums[h][v] = dot(sums[h][v], l, r[v]);
    }
  }
}

/// scores[h][k] = scale * (q_h . row_k) of V * kLanes rows.
template <size_t H, size_t V>
VARVE_TARGET inline void score_heads(const uint32_t* q, size_t n_pairs, const uint32_t* keys,
                                     float scale, float* scores) {
  __m512 sums[H][V];
  for (auto& head : sums) {
    for (auto& sum : head) sum = _mm512_setzero_ps();
  }
  multiply<H, V>(q, n_pairs, keys, kTile, n_pairs, sums);
  for (size_t h = 0; h < H; ++h) {
    for (size_t v = 0; v < V; ++v) {
      _mm512_storeu_ps(scores + h * kTile + v * kLanes,
                       _mm512_mul_ps(sums[h][v], _mm512_set1_ps(scale)));
    }
  }
}

/// out[h][d] = shrink_h * it + sum over the rows of p[h][k] * rows[k][d] of V * kLanes dimensions.
template <size_t H, size_t V>
VARVE_TARGET inline void value_heads(const uint32_t* p, const float* shrink, const uint32_t* values,
                                     size_t n_pairs, float* out) {
  __m512 sums[H][V];
  for (size_t h = 0; h < H; ++h) {
    for (size_t v = 0; v < V; ++v) {
      sums[h][v] = _mm512_mul_ps(_mm512_loadu_ps(out + h * kBlockDims + v * kLanes),
                                 _mm512_set1_ps(shrink[h]));
    }
  }
  multiply<H, V>(p, kTile / 2, values, kBlockDims, n_pairs, sums);
  for (size_t h = 0; h < H; ++h) {
    for (size_t v = 0; v < V; ++v) {
      _mm512_storeu_ps(out + h * kBlockDims + v * kLanes, sums[h][v]);
    }
  }
}

using ScoreFunction = void (*)(const uint32_t* q, size_t n_pairs, const uint32_t* keys, float scale,
                               float* scores);
using ValueFunction = void (*)(const uint32_t* p, const float* shrink, const uint32_t* values,
                               size_t n_pairs, float* out);

// By heads, 1 to kHeads.
template <size_t V>
inline constexpr ScoreFunction kScoreHeads[] = {score_heads<1, V>, score_heads<2, V>,
                                                score_heads<3, V>, score_heads<4, V>,
                                                score_heads<5, V>, score_heads<6, V>};
template <size_t V>
inline constexpr ValueFunction kValueHeads[] = {value_heads<1, V>, value_heads<2, V>,
                                                value_heads<3, V>, value_heads<4, V>,
                                                value_heads<5, V>, value_heads<6, V>};

// ---- softmax

// Of every head of a chunk.
struct Running {
  float* max;
  float* shrink;         // what was summed before shrinks by this
  float (*sum)[kLanes];  // of exp(s - max), row k in lane k % kLanes

  Running from(size_t head) const { return {max + head, shrink + head, sum + head}; }
};

VARVE_INLINE void start(const Running& running, size_t n_heads) {
  std::fill_n(running.max, n_heads, -kInfinity);
  std::memset(running.sum, 0, n_heads * sizeof running.sum[0]);
}

/// Turns scores [n_heads, kTile], of which each head has one that is a number, into p = exp(s -
/// max) as bf16, [kTile / 2] pairs a head; with kKeepF32 the scores become p as well.
template <bool kKeepF32>
VARVE_TARGET inline void softmax(size_t n_heads, float* scores, const Running& running,
                                 uint32_t* p) {
  alignas(64) float tile_max[kChunkHeads];
  for (size_t h = 0; h < n_heads; ++h) {
    const float* const s = scores + h * kTile;
    const __m512 most =
        _mm512_max_ps(_mm512_max_ps(_mm512_loadu_ps(s), _mm512_loadu_ps(s + 16)),
                      _mm512_max_ps(_mm512_loadu_ps(s + 32), _mm512_loadu_ps(s + 48)));
    tile_max[h] = std::max(running.max[h], _mm512_reduce_max_ps(most));
  }
  for (size_t h = 0; h < n_heads; h += kLanes) {
    const size_t left = std::min(kLanes, n_heads - h);
    const auto some = static_cast<__mmask16>((1u << left) - 1);
    // exp(-inf) = 0 in the first tile
    const __m512 now = _mm512_maskz_loadu_ps(some, tile_max + h);
    const __m512 before = _mm512_maskz_loadu_ps(some, running.max + h);
    _mm512_mask_storeu_ps(running.shrink + h, some, exp(_mm512_sub_ps(before, now)));
    _mm512_mask_storeu_ps(running.max + h, some, now);
  }
  for (size_t h = 0; h < n_heads; ++h) {
    const __m512 max = _mm512_set1_ps(running.max[h]);
    __m512 sum = _mm512_mul_ps(_mm512_loadu_ps(running.sum[h]), _mm512_set1_ps(running.shrink[h]));
    for (size_t k = 0; k < kTile; k += kStep) {
      float* const s = scores + h * kTile + k;
      const __m512 p0 = exp(_mm512_sub_ps(_mm512_loadu_ps(s), max));
      const __m512 p1 = exp(_mm512_sub_ps(_mm512_loadu_ps(s + kLanes), max));
      sum = _mm512_add_ps(_mm512_add_ps(sum, p0), p1);
      if constexpr (kKeepF32) {
        _mm512_storeu_ps(s, p0);
        _mm512_storeu_ps(s + kLanes, p1);
      }
      _mm512_storeu_si512(p + (h * kTile + k) / 2,
                          reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(p1, p0)));
    }
    _mm512_storeu_ps(running.sum[h], sum);
  }
}

/// to[0, padded) = from[0, dim) rounded to bf16, then zeros; padded is a multiple of kLanes.
VARVE_TARGET inline void round_query(const float* from, size_t dim, size_t padded, uint16_t* to) {
  for (size_t d = 0; d < padded; d += kLanes) {
    const size_t n = d < dim ? std::min(dim - d, kLanes) : 0;
    const __m512 x =
        _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), from + std::min(d, dim));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + d),
                        reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)));
  }
}

}  // namespace varve
