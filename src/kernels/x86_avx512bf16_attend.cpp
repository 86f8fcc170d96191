#include "kernels/x86_avx512bf16_attend.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/simd.h"
#include "kernels/x86_avx512bf16-inl.h"

namespace varve {
namespace {

constexpr size_t kTile = kAttendTile;
// Heads that share one pass over the rows.
constexpr size_t kChunkHeads = 128;
// Heads times vectors that are summed side by side: as many as leave registers for the operands.
constexpr size_t kHeads = 6;
constexpr size_t kVectors = 4;
// Dimensions of a block of values: its part of a tile stays in the first cache for all heads.
constexpr size_t kBlockDims = kVectors * kLanes;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

constexpr size_t round_up(size_t n, size_t to) {
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

struct Shape {
  explicit Shape(const AttendArgs& a)
      : dim(static_cast<size_t>(a.head_dim)),
        padded(round_up(dim, kStep)),
        n_e4m3(dim - static_cast<size_t>(a.rope_dim)),
        n_bf16(static_cast<size_t>(a.rope_dim)) {}
  size_t scales_at() const { return n_e4m3 + 2 * n_bf16; }
  size_t n_groups() const { return (n_e4m3 + kE4m3Group - 1) / kE4m3Group; }
  size_t row_stride() const { return padded + kStep; }  // stores may reach a vector too far

  size_t dim;
  size_t padded;  // the dimensions that are worked on, zeros behind dim
  size_t n_e4m3, n_bf16;
};

/// Whether this file's arithmetic fits the call.
VARVE_TARGET bool fits(const AttendArgs& a, const Shape& shape) {
  if (a.products != Products::bf16) return false;
  const size_t scales_at = shape.scales_at(), n_groups = shape.n_groups();
  for (int k = 0; k < a.n_rows; ++k) {
    const AttendRow& row = a.rows[k];
    if (row.format == RowFormat::bf16) continue;
    if (row.format != RowFormat::native) return false;
    if (!scales_fit(reinterpret_cast<const uint8_t*>(row.bytes) + scales_at, n_groups)) {
      return false;
    }
  }
  return true;
}

/// to[0, n) = the bf16 values at p; then zeros up to a whole vector.
VARVE_INLINE void copy_bf16(const uint8_t* p, size_t n, uint16_t* to) {
  for (size_t i = 0; i < n; i += kStep) {
    const __mmask32 some = n - i >= kStep ? ~__mmask32{0} : (__mmask32{1} << (n - i)) - 1;
    _mm512_storeu_si512(to + i, _mm512_maskz_loadu_epi16(some, p + 2 * i));
  }
}

/// to[0, padded) = the row.
VARVE_INLINE void decode(const AttendRow& row, const Shape& shape, uint16_t* to) {
  const auto* const bytes = reinterpret_cast<const uint8_t*>(row.bytes);
  _mm512_storeu_si512(to + shape.padded - kStep, _mm512_setzero_si512());
  if (row.format == RowFormat::bf16) {
    copy_bf16(bytes, shape.dim, to);
    return;
  }
  const uint8_t* const scales = bytes + shape.scales_at();
  for (size_t begin = 0; begin < shape.n_e4m3; begin += kE4m3Group) {
    const E4m3State state = e4m3_state(exponent_of(scales[begin / kE4m3Group]));
    const size_t end = std::min(begin + kE4m3Group, shape.n_e4m3);
    for (size_t i = begin; i < end; i += kStep) {
      const __mmask32 some = end - i >= kStep ? ~__mmask32{0} : (__mmask32{1} << (end - i)) - 1;
      const __m512i codes = _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(some, bytes + i));
      const __m512i magnitude = _mm512_and_si512(codes, _mm512_set1_epi16(0x7F));
      const __mmask32 nan = _mm512_cmpeq_epi16_mask(magnitude, _mm512_set1_epi16(0x7F));
      const __m512i values = bf16_from_e4m3(codes, state);
      _mm512_storeu_si512(to + i, _mm512_mask_mov_epi16(values, nan, _mm512_set1_epi16(0x7FC0)));
    }
  }
  copy_bf16(bytes + shape.n_e4m3, shape.n_bf16, to + shape.n_e4m3);
}

/// Rows lie wherever the cache has them, so nothing but this reads them ahead.
VARVE_INLINE void prefetch(const AttendRow& row, const Shape& shape) {
  const size_t bytes = row.format == RowFormat::native ? shape.scales_at() + shape.n_groups()
                                                       : shape.dim * sizeof(uint16_t);
  for (size_t i = 0; i < bytes; i += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(row.bytes) + i, _MM_HINT_T0);
  }
}

// A tile of rows as the two products read it, a double word being a pair of bf16 values.
struct Tile {
  uint32_t* keys;    // [padded / 2][kTile]: pairs of dimensions, a row a lane
  uint32_t* values;  // [padded / kBlockDims][kTile / 2][kBlockDims]: pairs of rows
};

/// Fills the tile from n <= kTile rows; rows behind them are zeros up to a multiple of 32. `rows`
/// has room for kLanes of them. n_ahead: rows that there are, those of later tiles too.
VARVE_TARGET void fill_tile(const AttendRow* stored, size_t n, size_t n_ahead, const Shape& shape,
                            uint16_t* rows, const Tile& tile) {
  const size_t stride = shape.row_stride();
  const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8,
                                       39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  for (size_t k0 = 0; k0 < round_up(n, 2 * kLanes); k0 += kLanes) {
    for (size_t k = 0; k < kLanes; ++k) {
      uint16_t* const to = rows + k * stride;
      if (k0 + k + kLanes < n_ahead) prefetch(stored[k0 + k + kLanes], shape);
      if (k0 + k < n) {
        decode(stored[k0 + k], shape, to);
      } else {
        std::memset(to, 0, shape.padded * sizeof(uint16_t));
      }
    }
    for (size_t d = 0; d < shape.padded; d += kStep) {
      __m512i r[kLanes];
      for (size_t k = 0; k < kLanes; ++k) r[k] = _mm512_loadu_si512(rows + k * stride + d);
      uint32_t* const values =
          tile.values + (d / kBlockDims * (kTile / 2) + k0 / 2) * kBlockDims + d % kBlockDims;
      for (size_t i = 0; i < kLanes / 2; ++i) {
        uint32_t* const to = values + i * kBlockDims;
        _mm512_storeu_si512(to, _mm512_permutex2var_epi16(r[2 * i], low, r[2 * i + 1]));
        _mm512_storeu_si512(to + kLanes, _mm512_permutex2var_epi16(r[2 * i], high, r[2 * i + 1]));
      }
      transpose(r);
      for (size_t i = 0; i < kLanes; ++i) {
        _mm512_storeu_si512(tile.keys + (d / 2 + i) * kTile + k0, r[i]);
      }
    }
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
VARVE_TARGET void score_heads(const uint32_t* q, size_t n_pairs, const uint32_t* keys, float scale,
                              float* scores) {
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
VARVE_TARGET void value_heads(const uint32_t* p, const float* shrink, const uint32_t* values,
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
constexpr ScoreFunction kScoreHeads[] = {score_heads<1, V>, score_heads<2, V>, score_heads<3, V>,
                                         score_heads<4, V>, score_heads<5, V>, score_heads<6, V>};
template <size_t V>
constexpr ValueFunction kValueHeads[] = {value_heads<1, V>, value_heads<2, V>, value_heads<3, V>,
                                         value_heads<4, V>, value_heads<5, V>, value_heads<6, V>};

// ---- softmax

// Of every head of a chunk.
struct Running {
  alignas(64) float max[kChunkHeads];
  alignas(64) float shrink[kChunkHeads];       // what was summed before shrinks by this
  alignas(64) float sum[kChunkHeads][kLanes];  // of exp(s - max), row k in lane k % kLanes
};

/// Turns the scores of n rows into p = exp(s - max) as bf16, [kTile / 2] pairs a head.
VARVE_TARGET void softmax(size_t n_heads, size_t n, float* scores, Running& running, uint32_t* p) {
  alignas(64) float tile_max[kChunkHeads];
  for (size_t h = 0; h < n_heads; ++h) {
    float* const s = scores + h * kTile;
    std::fill(s + n, s + kTile, -kInfinity);
    const __m512 most =
        _mm512_max_ps(_mm512_max_ps(_mm512_loadu_ps(s), _mm512_loadu_ps(s + 16)),
                      _mm512_max_ps(_mm512_loadu_ps(s + 32), _mm512_loadu_ps(s + 48)));
    tile_max[h] = std::max(running.max[h], _mm512_reduce_max_ps(most));
  }
  for (size_t h = 0; h < n_heads; h += kLanes) {
    // exp(-inf) = 0 in the first tile
    const __m512 now = _mm512_load_ps(tile_max + h);
    _mm512_store_ps(running.shrink + h, exp(_mm512_sub_ps(_mm512_load_ps(running.max + h), now)));
    _mm512_store_ps(running.max + h, now);
  }
  for (size_t h = 0; h < n_heads; ++h) {
    const __m512 max = _mm512_set1_ps(running.max[h]);
    __m512 sum = _mm512_mul_ps(_mm512_load_ps(running.sum[h]), _mm512_set1_ps(running.shrink[h]));
    for (size_t k = 0; k < kTile; k += kStep) {
      const float* const s = scores + h * kTile + k;
      const __m512 p0 = exp(_mm512_sub_ps(_mm512_loadu_ps(s), max));
      const __m512 p1 = exp(_mm512_sub_ps(_mm512_loadu_ps(s + kLanes), max));
      sum = _mm512_add_ps(_mm512_add_ps(sum, p0), p1);
      _mm512_storeu_si512(p + (h * kTile + k) / 2,
                          reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(p1, p0)));
    }
    _mm512_store_ps(running.sum[h], sum);
  }
}

// ---- a call

/// to[0, padded) = from[0, dim) rounded to bf16, then zeros.
VARVE_TARGET void round_query(const float* from, const Shape& shape, uint16_t* to) {
  for (size_t d = 0; d < shape.padded; d += kLanes) {
    const size_t n = d < shape.dim ? std::min(shape.dim - d, kLanes) : 0;
    const __m512 x =
        _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), from + std::min(d, shape.dim));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + d),
                        reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)));
  }
}

// Where a call's parts lie in the workspace.
struct Workspace {
  Workspace(const AttendArgs& a, const Shape& shape) {
    float* at = a.workspace;
    const auto take = [&](size_t n) {
      float* const taken = at;
      at += round_up(n, kLanes);
      return taken;
    };
    tile.keys = reinterpret_cast<uint32_t*>(take(shape.padded / 2 * kTile));
    const size_t n_blocks = round_up(shape.padded, kBlockDims) / kBlockDims;
    tile.values = reinterpret_cast<uint32_t*>(take(n_blocks * kBlockDims * kTile / 2));
    rows = reinterpret_cast<uint16_t*>(take(shape.row_stride() * kLanes / 2));
    const size_t per_head = shape.padded / 2 + n_blocks * kBlockDims + kTile + kTile / 2;
    const size_t room = kWorkspaceFloats - static_cast<size_t>(at - a.workspace);
    chunk = std::min({kChunkHeads, room / per_head, static_cast<size_t>(a.n_heads)});
    q = reinterpret_cast<uint32_t*>(take(chunk * shape.padded / 2));
    values = take(chunk * n_blocks * kBlockDims);
    scores = take(chunk * kTile);
    p = reinterpret_cast<uint32_t*>(take(chunk * kTile / 2));
  }
  Tile tile;
  uint16_t* rows;  // [kLanes, row_stride]
  size_t chunk;    // heads
  uint32_t* q;     // [chunk, padded / 2]
  float* values;   // [padded / kBlockDims, chunk, kBlockDims]
  float* scores;   // [chunk, kTile]
  uint32_t* p;     // [chunk, kTile / 2]
};

VARVE_TARGET void attend_chunk(const AttendArgs& a, const Shape& shape, const Workspace& w,
                               size_t first_head, size_t n_heads) {
  const float* const q = a.q + first_head * shape.dim;
  float* const out = a.out + first_head * shape.dim;
  const size_t n_pairs = shape.padded / 2;
  for (size_t h = 0; h < n_heads; ++h) {
    round_query(q + h * shape.dim, shape, reinterpret_cast<uint16_t*>(w.q + h * n_pairs));
  }
  Running running;
  std::fill_n(running.max, round_up(n_heads, kLanes), -kInfinity);
  std::memset(running.sum, 0, n_heads * sizeof running.sum[0]);
  const size_t n_blocks = round_up(shape.padded, kBlockDims) / kBlockDims;
  std::memset(w.values, 0, n_blocks * w.chunk * kBlockDims * sizeof(float));
  const auto n_rows = static_cast<size_t>(a.n_rows);
  for (size_t begin = 0; begin < n_rows; begin += kTile) {
    const size_t n = std::min(kTile, n_rows - begin);
    fill_tile(a.rows + begin, n, n_rows - begin, shape, w.rows, w.tile);
    const ScoreFunction* const score = n > kTile / 2 ? kScoreHeads<4> : kScoreHeads<2>;
    for (size_t h = 0; h < n_heads; h += kHeads) {
      score[std::min(kHeads, n_heads - h) - 1](w.q + h * n_pairs, n_pairs, w.tile.keys, a.scale,
                                               w.scores + h * kTile);
    }
    softmax(n_heads, n, w.scores, running, w.p);
    for (size_t b = 0; b < n_blocks; ++b) {
      const bool whole = (b + 1) * kBlockDims <= shape.padded;
      const ValueFunction* const value = whole ? kValueHeads<4> : kValueHeads<2>;
      for (size_t h = 0; h < n_heads; h += kHeads) {
        value[std::min(kHeads, n_heads - h) - 1](
            w.p + h * kTile / 2, running.shrink + h, w.tile.values + b * kBlockDims * kTile / 2,
            (n + 1) / 2, w.values + (b * w.chunk + h) * kBlockDims);
      }
    }
  }
  for (size_t h = 0; h < n_heads; ++h) {
    alignas(64) float sink[kLanes];
    _mm512_store_ps(sink, exp(_mm512_set1_ps(a.sinks[first_head + h] - running.max[h])));
    const __m512 denominator =
        _mm512_set1_ps(_mm512_reduce_add_ps(_mm512_load_ps(running.sum[h])) + sink[0]);
    for (size_t d = 0; d < shape.dim; d += kLanes) {
      const float* const from =
          w.values + (d / kBlockDims * w.chunk + h) * kBlockDims + d % kBlockDims;
      alignas(64) float lanes[kLanes];
      _mm512_store_ps(lanes, _mm512_div_ps(_mm512_loadu_ps(from), denominator));
      std::memcpy(out + h * shape.dim + d, lanes, std::min(kLanes, shape.dim - d) * sizeof(float));
    }
  }
}

}  // namespace

void attend_avx512bf16(const AttendArgs& a) {
  static const Kernels& simd = *simd_kernels().front();
  const Shape shape(a);
  if (!fits(a, shape)) {
    simd.attend(a);
    return;
  }
  const Workspace workspace(a, shape);
  const auto n_heads = static_cast<size_t>(a.n_heads);
  for (size_t h = 0; h < n_heads; h += workspace.chunk) {
    attend_chunk(a, shape, workspace, h, std::min(workspace.chunk, n_heads - h));
  }
}

}  // namespace varve

#endif
