#include "kernels/x86_avx512bf16_attend.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/simd.h"
#include "kernels/x86_avx512bf16_attend-inl.h"
#include "tensor/groups.h"

namespace varve {
namespace {

// ---- rows

struct Shape {
  explicit Shape(const AttendArgs& a)
      : dim(static_cast<size_t>(a.head_dim)),
        padded(round_up(dim, kStep)),
        n_e4m3(dim - static_cast<size_t>(a.rope_dim)),
        n_bf16(static_cast<size_t>(a.rope_dim)) {}
  size_t scales_at() const { return n_e4m3 + 2 * n_bf16; }
  size_t n_groups() const { return (n_e4m3 + kE4m3Group - 1) / kE4m3Group; }
  RowShape row() const { return {static_cast<int>(dim), static_cast<int>(n_bf16), false}; }
  size_t row_stride() const { return padded + 2 * kStep; }  // stores may reach two vectors too far

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
    if (row.format == RowFormat::bf16 || group_format(row.format) != nullptr) continue;
    if (row.format != RowFormat::native && row.format != RowFormat::fp8) return false;
    if (!scales_fit(reinterpret_cast<const uint8_t*>(row.bytes) + scales_at, n_groups)) {
      return false;
    }
  }
  return true;
}

/// to[0, 16) = values of a group rounded to bf16, from their codes, one a byte.
VARVE_INLINE void put_group_values(const GroupFormat& format, __m128i codes, float scale, float min,
                                   uint16_t* to) {
  if (format.table_levels) {
    const auto* const table = reinterpret_cast<const __m128i*>(kE2m1Levels.data());
    codes = _mm_shuffle_epi8(_mm_loadu_si128(table), codes);
  }
  const __m512i levels =
      _mm512_sub_epi32(_mm512_cvtepu8_epi32(codes), _mm512_set1_epi32(format.zero));
  const __m512 values =
      _mm512_fmadd_ps(_mm512_cvtepi32_ps(levels), _mm512_set1_ps(scale), _mm512_set1_ps(min));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                      reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(values)));
}

/// A row of a group format. Values behind the last group's are whatever they are until the rotated
/// ones overwrite them.
VARVE_TARGET void decode_groups(const GroupFormat& format, const RowShape& row_shape,
                                const uint8_t* bytes, uint16_t* to) {
  const GroupRow at(format, row_shape);
  const __m128i low_four = _mm_set1_epi8(15);
  for (size_t g = 0; g < at.n_groups; ++g) {
    const StoredGroup group = stored_group(format, at, bytes, g);
    const auto load = [&](size_t i) VARVE_TARGET {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(group.codes + i));
    };
    __m128i first = load(0), second;
    if (format.bits == 8) {
      second = load(kLanes);
    } else {
      second = _mm_and_si128(_mm_srli_epi16(first, 4), low_four);
      first = _mm_and_si128(first, low_four);
    }
    if (format.bits == 5) {
      const __m128i sixteen = _mm_set1_epi8(16);
      first = _mm_mask_add_epi8(first, static_cast<__mmask16>(group.fifth), first, sixteen);
      second =
          _mm_mask_add_epi8(second, static_cast<__mmask16>(group.fifth >> 16), second, sixteen);
    }
    put_group_values(format, first, group.scale, group.min, to + g * kGroupValues);
    put_group_values(format, second, group.scale, group.min, to + g * kGroupValues + kLanes);
  }
  copy_bf16(bytes + at.bf16_at, static_cast<size_t>(row_shape.rope_dim), to + at.n_grouped);
  const size_t dim = static_cast<size_t>(row_shape.dim), padded = round_up(dim, kStep);
  std::memset(to + dim, 0, (padded - dim) * sizeof(uint16_t));
}

/// to[0, padded) = the row.
VARVE_INLINE void decode(const AttendRow& row, const Shape& shape, uint16_t* to) {
  const auto* const bytes = reinterpret_cast<const uint8_t*>(row.bytes);
  _mm512_storeu_si512(to + shape.padded - kStep, _mm512_setzero_si512());
  if (row.format == RowFormat::bf16) {
    copy_bf16(bytes, shape.dim, to);
    return;
  }
  if (const GroupFormat* const groups = group_format(row.format)) {
    decode_groups(*groups, shape.row(), bytes, to);
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
  const size_t bytes = row_bytes(row.format, shape.row());
  for (size_t i = 0; i < bytes; i += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(row.bytes) + i, _MM_HINT_T0);
  }
}

/// Fills the tile from n <= kTile rows; rows behind them are zeros up to a multiple of 32. `rows`
/// has room for kLanes of them. n_ahead: rows that there are, those of later tiles too.
VARVE_TARGET void fill_tile(const AttendRow* stored, size_t n, size_t n_ahead, const Shape& shape,
                            uint16_t* rows, const Tile& tile) {
  const size_t stride = shape.row_stride();
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
      put_values(tile, d, k0, r);
      put_keys(tile, d, k0, r);
    }
  }
}

// ---- a call

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
    round_query(q + h * shape.dim, shape.dim, shape.padded,
                reinterpret_cast<uint16_t*>(w.q + h * n_pairs));
  }
  alignas(64) float max[kChunkHeads], shrink[kChunkHeads], sum[kChunkHeads][kLanes];
  const Running running{max, shrink, sum};
  start(running, n_heads);
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
    for (size_t h = 0; h < n_heads; ++h) {
      std::fill(w.scores + h * kTile + n, w.scores + (h + 1) * kTile, -kInfinity);
    }
    softmax<false>(n_heads, w.scores, running, w.p);
    for (size_t b = 0; b < n_blocks; ++b) {
      const bool whole = (b + 1) * kBlockDims <= shape.padded;
      const ValueFunction* const value = whole ? kValueHeads<4> : kValueHeads<2>;
      for (size_t h = 0; h < n_heads; h += kHeads) {
        value[std::min(kHeads, n_heads - h) - 1](
            w.p + h * kTile / 2, shrink + h, w.tile.values + b * kBlockDims * kTile / 2,
            (n + 1) / 2, w.values + (b * w.chunk + h) * kBlockDims);
      }
    }
  }
  for (size_t h = 0; h < n_heads; ++h) {
    const size_t head = first_head + h;
    const float sum_of_rows = _mm512_reduce_add_ps(_mm512_load_ps(sum[h]));
    __m512 denominator = _mm512_set1_ps(1);
    if (a.max != nullptr) {
      a.max[head] = max[h];
      a.sum[head] = sum_of_rows;
    } else {
      alignas(64) float sink[kLanes];
      _mm512_store_ps(sink, exp(_mm512_set1_ps(a.sinks[head] - max[h])));
      denominator = _mm512_set1_ps(sum_of_rows + sink[0]);
    }
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

RowDots row_dots_avx512bf16(RowFormat format, Products products) {
  const bool other = format == RowFormat::f32 || format == RowFormat::f16;
  return products == Products::f32 || other ? RowDots::f32 : RowDots::bf16;
}

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
