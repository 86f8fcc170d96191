#include "kernels/x86_avx512bf16_attend.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <optional>

#include "kernels/simd.h"
#include "kernels/x86_avx512vnni_kv-inl.h"

namespace varve {
namespace {

/// Keys or values of one KV head in a tile of positions: rows [lo, hi) of it are there.
struct Rows {
  const std::byte* run;  // the tile's first row
  size_t lo, hi;
  const std::byte* next;  // the next tile's first row; null: there is none
};

// ---- bf16 and fp8 rows, which become a tile of bf16 values

/// r = dimensions [d, d + kStep) of rows [k0, k0 + kLanes), zeros for those that are not there.
template <bool kFp8>
VARVE_INLINE void load_rows(const Rows& rows, size_t dim, size_t row_bytes, size_t d, size_t k0,
                            __m512i (&r)[kLanes]) {
  const size_t left = dim - d;
  const __mmask32 some = left >= kStep ? ~__mmask32{0} : (__mmask32{1} << left) - 1;
  for (size_t k = 0; k < kLanes; ++k) {
    const size_t row = k0 + k;
    const size_t at = row * row_bytes + d * (kFp8 ? 1 : sizeof(uint16_t));
    // Few heads leave reading as what binds, and runs are too short to be seen coming.
    if (rows.next != nullptr) {
      _mm_prefetch(reinterpret_cast<const char*>(rows.next) + at, _MM_HINT_T0);
    }
    if (row < rows.lo || row >= rows.hi) {
      r[k] = _mm512_setzero_si512();
    } else if constexpr (kFp8) {
      const auto* const bytes = reinterpret_cast<const uint8_t*>(rows.run + row * row_bytes);
      const E4m3State state = e4m3_state(exponent_of(bytes[dim + d / kE4m3Group]));
      const __m512i codes = _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(some, bytes + d));
      r[k] = bf16_from_e4m3(codes, state);
    } else {
      r[k] = _mm512_maskz_loadu_epi16(some, rows.run + at);
    }
  }
}

// One side of the cache, as this call has it: read by integer dots, or as bf16 values.
struct Side {
  Side(RowFormat row_format, int head_dim)
      : format(row_format), row_bytes(varve::row_bytes(row_format, {head_dim, 0, false})) {
    if (const GroupFormat* const groups = group_format(row_format))
      tiles.emplace(*groups, head_dim);
  }
  RowFormat format;
  size_t row_bytes;
  std::optional<TileReader> tiles;
};

struct Workspace {
  Workspace(const AttendKvArgs& a)
      : k(a.k_format, a.head_dim),
        v(a.v_format, a.head_dim),
        padded(round_up(static_cast<size_t>(a.head_dim), kStep)),
        n_blocks(round_up(padded, kBlockDims) / kBlockDims),
        n_groups(padded / kGroupValues) {
    float* at = a.workspace;
    const auto take = [&](size_t n) {
      float* const taken = at;
      at += round_up(n, kLanes);
      return taken;
    };
    const auto take_ints = [&](size_t n) { return reinterpret_cast<int32_t*>(take(n)); };
    tile.keys = reinterpret_cast<uint32_t*>(take(k.tiles ? 0 : padded / 2 * kTile));
    tile.values =
        reinterpret_cast<uint32_t*>(take(v.tiles ? 0 : n_blocks * kBlockDims * kTile / 2));
    if (v.tiles) {
      of_tile = {take(n_groups * kTile), take(n_groups * kTile), take(n_groups)};
      const size_t per_pass = kWholeHeads * n_groups;
      weights = {take_ints(per_pass * kTile / 4), take_ints(per_pass * kTile / 4),
                 take_ints(per_pass), take(per_pass), take(per_pass)};
    }
    const size_t per_head = padded / 2 + n_groups + 1 + n_blocks * kBlockDims + kTile + kTile / 2;
    const size_t room = kWorkspaceFloats - static_cast<size_t>(at - a.workspace) - 8 * kLanes;
    chunk = std::min({kChunkHeads, room / per_head, static_cast<size_t>(a.n_queries * a.n_heads)});
    if (k.tiles) {
      whole_q = {take_ints(chunk * padded / 4), take_ints(chunk * padded / 4),
                 take(chunk * n_groups), take(chunk)};
    } else {
      q = reinterpret_cast<uint32_t*>(take(chunk * padded / 2));
    }
    values = take(chunk * n_blocks * kBlockDims);
    scores = take(chunk * kTile);
    p = reinterpret_cast<uint32_t*>(take(chunk * kTile / 2));
  }
  Side k, v;
  size_t padded;    // the dimensions that are worked on, zeros behind head_dim
  size_t n_blocks;  // of kBlockDims of them
  size_t n_groups;  // of kGroupValues of them
  Tile tile;
  size_t chunk;  // heads
  // Of keys in groups, of others.
  WholeQueries whole_q{};
  uint32_t* q = nullptr;  // [chunk, padded / 2]
  TileScales of_tile{};
  WholeWeights weights{};
  float* values;  // [n_blocks, chunk, kBlockDims]
  float* scores;  // [chunk, kTile]
  uint32_t* p;    // [chunk, kTile / 2]
};
// Values in groups take less than a tile of them as bf16 does.
static_assert(kTile * kMaxHeadDim + kMaxHeadDim * 5 / 2 + kBlockDims + 2 * kTile + 16 * kLanes <=
              kWorkspaceFloats);
static_assert(2 * kMaxHeadDim / kGroupValues * kTile + kMaxHeadDim / kGroupValues +
                  kWholeHeads * kMaxHeadDim / kGroupValues * (kTile / 2 + 3) <=
              kMaxHeadDim * kTile / 2);

template <class Put>
VARVE_INLINE void fill_tile(const Side& side, const Rows& rows, size_t dim, size_t padded,
                            Put put) {
  for (size_t k0 = 0; k0 < round_up(rows.hi, 2 * kLanes); k0 += kLanes) {
    for (size_t d = 0; d < padded; d += kStep) {
      __m512i r[kLanes];
      if (side.format == RowFormat::fp8) {
        load_rows<true>(rows, dim, side.row_bytes, d, k0, r);
      } else {
        load_rows<false>(rows, dim, side.row_bytes, d, k0, r);
      }
      put(d, k0, r);
    }
  }
}

VARVE_INLINE void prefetch_tile(const Rows& rows, size_t row_bytes) {
  if (rows.next == nullptr) return;
  for (size_t i = 0; i < kTile * row_bytes; i += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(rows.next) + i, _MM_HINT_T0);
  }
}

/// Scores of heads [h0, h0 + n) of the chunk.
VARVE_TARGET void score_rows(const AttendKvArgs& a, const Workspace& w, const Rows& keys, size_t h0,
                             size_t n) {
  if (w.k.tiles) {
    const TileReader& reader = *w.k.tiles;
    const WholeScore* const score = whole_scores(reader.format);
    prefetch_tile(keys, w.k.row_bytes);
    for (size_t i = keys.lo / kLanes; i * kLanes < keys.hi; ++i) {
      for (size_t h = 0; h < n; h += kWholeHeads) {
        score[std::min(kWholeHeads, n - h) - 1](reader, keys.run + i * reader.tile_bytes, w.whole_q,
                                                h0 + h, a.scale, w.scores + h * kTile + i * kLanes);
      }
    }
    return;
  }
  fill_tile(w.k, keys, static_cast<size_t>(a.head_dim), w.padded,
            [&](size_t d, size_t k0, __m512i(&r)[kLanes])
                VARVE_TARGET { put_keys(w.tile, d, k0, r); });
  const ScoreFunction* const score = keys.hi > kTile / 2 ? kScoreHeads<4> : kScoreHeads<2>;
  for (size_t h = 0; h < n; h += kHeads) {
    score[std::min(kHeads, n - h) - 1](w.q + (h0 + h) * w.padded / 2, w.padded / 2, w.tile.keys,
                                       a.scale, w.scores + h * kTile);
  }
}

/// Adds the tile's values to those of heads [h0, h0 + n) of the chunk; head h sees the rows up to
/// ends[h], not included.
VARVE_TARGET void add_values(const AttendKvArgs& a, const Workspace& w, const Rows& values,
                             size_t h0, size_t n, const float* shrink, const size_t* ends) {
  if (w.v.tiles) {
    const TileReader& reader = *w.v.tiles;
    const WholeValue* const value = whole_values(reader.format);
    prefetch_tile(values, w.v.row_bytes);
    size_t of_rows = 0;  // what of_tile is of
    for (size_t h = 0; h < n; h += kWholeHeads) {
      const size_t n_heads = std::min(kWholeHeads, n - h);
      for (size_t i = 0; i < n_heads; ++i) {
        if (ends[h + i] != of_rows) {
          of_rows = ends[h + i];
          put_scales(reader, values.run, of_rows, w.of_tile);
        }
        put_weights(reader, w.scores + (h + i) * kTile, values.hi, w.of_tile, i, w.weights);
      }
      for (size_t g = 0; g < w.n_groups; ++g) {
        const size_t d = g * kGroupValues;
        value[n_heads - 1](
            reader, values.run, values.hi, w.weights, shrink + h0 + h, g,
            w.values + (d / kBlockDims * w.chunk + h0 + h) * kBlockDims + d % kBlockDims);
      }
    }
    return;
  }
  fill_tile(w.v, values, static_cast<size_t>(a.head_dim), w.padded,
            [&](size_t d, size_t k0, __m512i(&r)[kLanes])
                VARVE_TARGET { put_values(w.tile, d, k0, r); });
  for (size_t b = 0; b < w.n_blocks; ++b) {
    const bool whole = (b + 1) * kBlockDims <= w.padded;
    const ValueFunction* const value = whole ? kValueHeads<4> : kValueHeads<2>;
    for (size_t h = 0; h < n; h += kHeads) {
      value[std::min(kHeads, n - h) - 1](
          w.p + h * kTile / 2, shrink + h0 + h, w.tile.values + b * kBlockDims * kTile / 2,
          (values.hi + 1) / 2, w.values + (b * w.chunk + h0 + h) * kBlockDims);
    }
  }
}

// Heads [first, first + n) of the call, query by query.
VARVE_TARGET void attend_kv_chunk(const AttendKvArgs& a, size_t first, size_t n,
                                  const Workspace& w) {
  const auto dim = static_cast<size_t>(a.head_dim);
  const auto group = static_cast<size_t>(a.n_heads);
  alignas(64) float max[kChunkHeads], shrink[kChunkHeads], sum[kChunkHeads][kLanes];
  size_t ends[kChunkHeads];
  const Running running{max, shrink, sum};
  start(running, n);
  const auto query = [&](size_t h) { return static_cast<int>((first + h) / group); };
  for (size_t h = 0; h < n; ++h) {
    const float* const q =
        a.q + static_cast<size_t>(query(h)) * a.q_stride + (first + h) % group * dim;
    if (w.k.tiles) {
      put_query(q, dim, w.padded, h, w.whole_q);
    } else {
      round_query(q, dim, w.padded, reinterpret_cast<uint16_t*>(w.q + h * w.padded / 2));
    }
  }
  std::memset(w.values, 0, w.n_blocks * w.chunk * kBlockDims * sizeof(float));
  // Later queries see from and up to later positions.
  const int tile_rows = static_cast<int>(kTile);
  const int stop = a.end_seen(query(n - 1));
  size_t h0 = 0;
  for (int begin = a.first_seen(query(0)) / tile_rows * tile_rows; begin < stop;
       begin += tile_rows) {
    size_t h1 = n;  // heads [h0, h1) see some of the tile
    const auto sees_none = [&](size_t h) {
      return std::min(a.end_seen(query(h)), begin + tile_rows) <=
             std::max(a.first_seen(query(h)), begin);
    };
    while (h0 < n && sees_none(h0)) ++h0;
    while (h1 > h0 && sees_none(h1 - 1)) --h1;
    if (h0 == h1) continue;
    const auto lo = static_cast<size_t>(std::max(a.first_seen(query(h0)) - begin, 0));
    const auto hi = static_cast<size_t>(std::min(stop - begin, tile_rows));
    const KvRun& run = a.runs[begin / a.run_rows - a.first_run];
    const auto row = static_cast<size_t>(begin % a.run_rows);
    // Of the next tile all rows are fetched, those too that nobody has written yet.
    const int ahead = begin + tile_rows;
    const KvRun* const next = ahead < stop ? &a.runs[ahead / a.run_rows - a.first_run] : nullptr;
    const auto next_row = static_cast<size_t>(ahead % a.run_rows);
    const size_t k_bytes = w.k.row_bytes, v_bytes = w.v.row_bytes;
    const Rows keys{run.keys + row * k_bytes, lo, hi,
                    next ? next->keys + next_row * k_bytes : nullptr};
    const Rows values{run.values + row * v_bytes, lo, hi,
                      next ? next->values + next_row * v_bytes : nullptr};
    const size_t n_heads = h1 - h0;
    score_rows(a, w, keys, h0, n_heads);
    for (size_t h = 0; h < n_heads; ++h) {
      float* const s = w.scores + h * kTile;
      const int from = std::max(0, a.first_seen(query(h0 + h)) - begin);
      const int to = std::min(tile_rows, a.end_seen(query(h0 + h)) - begin);
      std::fill(s, s + from, -kInfinity);
      std::fill(s + to, s + kTile, -kInfinity);
      ends[h] = static_cast<size_t>(to);
    }
    (w.v.tiles ? softmax<true> : softmax<false>)(n_heads, w.scores, running.from(h0), w.p);
    add_values(a, w, values, h0, n_heads, shrink, ends);
  }
  for (size_t h = 0; h < n; ++h) {
    const size_t head = first + h;
    a.max[head] = max[h];
    a.sum[head] = _mm512_reduce_add_ps(_mm512_load_ps(sum[h]));
    for (size_t d = 0; d < dim; d += kBlockDims) {
      std::memcpy(a.values + head * dim + d, w.values + (d / kBlockDims * w.chunk + h) * kBlockDims,
                  std::min(kBlockDims, dim - d) * sizeof(float));
    }
  }
}

// f32: this file's arithmetic does not fit rows of the format.
RowDots dots_of(RowFormat format) {
  if (format == RowFormat::bf16 || format == RowFormat::fp8) return RowDots::bf16;
  return group_format(format) != nullptr ? RowDots::int8 : RowDots::f32;
}

}  // namespace

std::array<RowDots, 2> kv_dots_avx512bf16(RowFormat k, RowFormat v, Products products) {
  const std::array dots = {dots_of(k), dots_of(v)};
  const bool fit = products == Products::bf16 && dots[0] != RowDots::f32 && dots[1] != RowDots::f32;
  return fit ? dots : std::array{RowDots::f32, RowDots::f32};
}

void attend_kv_avx512bf16(const AttendKvArgs& a) {
  static const Kernels& simd = *simd_kernels().front();
  if (kv_dots_avx512bf16(a.k_format, a.v_format, a.products)[0] == RowDots::f32) {
    simd.attend_kv(a);
    return;
  }
  const Workspace workspace(a);
  const auto n_heads = static_cast<size_t>(a.n_queries * a.n_heads);
  for (size_t h = 0; h < n_heads; h += workspace.chunk) {
    attend_kv_chunk(a, h, std::min(workspace.chunk, n_heads - h), workspace);
  }
}

}  // namespace varve

#endif
