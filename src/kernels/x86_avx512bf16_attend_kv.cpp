#include "kernels/x86_avx512bf16_attend.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include "kernels/simd.h"
#include "kernels/x86_avx512bf16_attend-inl.h"

namespace varve {
namespace {

/// n rows of bf16 at p, `dim` values each, and how they lie in a tile.
struct Rows {
  const std::byte* p;
  size_t dim;
  size_t first;  // rows [first, end) of the tile are those at p; the others are zeros
  size_t end;
  const std::byte* next;  // the next tile's, all of it; null: there is none
};

/// r = dimensions [d, d + kStep) of rows [k0, k0 + kLanes).
VARVE_INLINE void load_rows(const Rows& rows, size_t d, size_t k0, __m512i (&r)[kLanes]) {
  const size_t left = rows.dim - d;
  const __mmask32 some = left >= kStep ? ~__mmask32{0} : (__mmask32{1} << left) - 1;
  for (size_t k = 0; k < kLanes; ++k) {
    const size_t row = k0 + k;
    // Few heads leave reading as what binds, and runs are too short to be seen coming.
    if (rows.next != nullptr) {
      _mm_prefetch(
          reinterpret_cast<const char*>(rows.next) + (row * rows.dim + d) * sizeof(uint16_t),
          _MM_HINT_T0);
    }
    if (row < rows.first || row >= rows.end) {
      r[k] = _mm512_setzero_si512();
      continue;
    }
    const std::byte* const at = rows.p + ((row - rows.first) * rows.dim + d) * sizeof(uint16_t);
    r[k] = _mm512_maskz_loadu_epi16(some, at);
  }
}

struct Workspace {
  Workspace(const AttendKvArgs& a, size_t padded_dim) : padded(padded_dim) {
    float* at = a.workspace;
    const auto take = [&](size_t n) {
      float* const taken = at;
      at += round_up(n, kLanes);
      return taken;
    };
    n_blocks = round_up(padded, kBlockDims) / kBlockDims;
    tile.keys = reinterpret_cast<uint32_t*>(take(padded / 2 * kTile));
    tile.values = reinterpret_cast<uint32_t*>(take(n_blocks * kBlockDims * kTile / 2));
    const size_t per_head = padded / 2 + n_blocks * kBlockDims + kTile + kTile / 2;
    const size_t room = kWorkspaceFloats - static_cast<size_t>(at - a.workspace);
    chunk = std::min({kChunkHeads, room / per_head, static_cast<size_t>(a.n_queries * a.n_heads)});
    q = reinterpret_cast<uint32_t*>(take(chunk * padded / 2));
    values = take(chunk * n_blocks * kBlockDims);
    scores = take(chunk * kTile);
    p = reinterpret_cast<uint32_t*>(take(chunk * kTile / 2));
  }
  size_t padded;    // the dimensions that are worked on, zeros behind head_dim
  size_t n_blocks;  // of kBlockDims of them
  Tile tile;
  size_t chunk;   // heads
  uint32_t* q;    // [chunk, padded / 2]
  float* values;  // [n_blocks, chunk, kBlockDims]
  float* scores;  // [chunk, kTile]
  uint32_t* p;    // [chunk, kTile / 2]
};
static_assert(kTile * kMaxHeadDim + kMaxHeadDim * 3 / 2 + kBlockDims + 2 * kTile + 4 * kLanes <=
              kWorkspaceFloats);

// Heads [first, first + n) of the call, query by query.
VARVE_TARGET void attend_kv_chunk(const AttendKvArgs& a, size_t first, size_t n,
                                  const Workspace& w) {
  const auto dim = static_cast<size_t>(a.head_dim);
  const auto group = static_cast<size_t>(a.n_heads);
  const size_t n_pairs = w.padded / 2;
  alignas(64) float max[kChunkHeads], shrink[kChunkHeads], sum[kChunkHeads][kLanes];
  const Running running{max, shrink, sum};
  start(running, n);
  const auto query = [&](size_t h) { return static_cast<int>((first + h) / group); };
  for (size_t h = 0; h < n; ++h) {
    const float* const q =
        a.q + static_cast<size_t>(query(h)) * a.q_stride + (first + h) % group * dim;
    round_query(q, dim, w.padded, reinterpret_cast<uint16_t*>(w.q + h * n_pairs));
  }
  std::memset(w.values, 0, w.n_blocks * w.chunk * kBlockDims * sizeof(float));
  // Later queries see from and up to later positions.
  const int tile_rows = static_cast<int>(kTile);
  const int stop = a.end_seen(query(n - 1));
  size_t h0 = 0;
  for (int begin = a.first_seen(query(0)) / tile_rows * tile_rows; begin < stop;
       begin += tile_rows) {
    size_t h1 = n;  // heads [h0, h1) see some of the tile
    while (h0 < n && a.end_seen(query(h0)) <= begin) ++h0;
    while (h1 > h0 && a.first_seen(query(h1 - 1)) >= begin + tile_rows) --h1;
    if (h0 == h1) continue;
    const int row0 = std::max(a.first_seen(query(h0)), begin);
    const int row1 = std::min(stop, begin + tile_rows);
    const KvRun& run = a.runs[begin / a.run_rows - a.first_run];
    const size_t offset = static_cast<size_t>(row0 % a.run_rows) * dim * sizeof(uint16_t);
    const auto lo = static_cast<size_t>(row0 - begin), hi = static_cast<size_t>(row1 - begin);
    // Of the next tile all rows are fetched, those too that nobody has written yet.
    const int ahead = begin + tile_rows;
    const KvRun* const next = ahead < stop ? &a.runs[ahead / a.run_rows - a.first_run] : nullptr;
    const size_t next_at = static_cast<size_t>(ahead % a.run_rows) * dim * sizeof(uint16_t);
    const Rows keys{run.keys + offset, dim, lo, hi, next ? next->keys + next_at : nullptr};
    const Rows values{run.values + offset, dim, lo, hi, next ? next->values + next_at : nullptr};
    for (size_t k0 = 0; k0 < round_up(hi, 2 * kLanes); k0 += kLanes) {
      for (size_t d = 0; d < w.padded; d += kStep) {
        __m512i r[kLanes];
        load_rows(keys, d, k0, r);
        put_keys(w.tile, d, k0, r);
        load_rows(values, d, k0, r);
        put_values(w.tile, d, k0, r);
      }
    }
    const size_t n_heads = h1 - h0;
    const ScoreFunction* const score = hi > kTile / 2 ? kScoreHeads<4> : kScoreHeads<2>;
    for (size_t h = 0; h < n_heads; h += kHeads) {
      score[std::min(kHeads, n_heads - h) - 1](w.q + (h0 + h) * n_pairs, n_pairs, w.tile.keys,
                                               a.scale, w.scores + h * kTile);
    }
    for (size_t h = 0; h < n_heads; ++h) {
      float* const s = w.scores + h * kTile;
      const int from = std::max(0, a.first_seen(query(h0 + h)) - begin);
      const int to = std::min(tile_rows, a.end_seen(query(h0 + h)) - begin);
      std::fill(s, s + from, -kInfinity);
      std::fill(s + to, s + kTile, -kInfinity);
    }
    softmax(n_heads, w.scores, running.from(h0), w.p);
    for (size_t b = 0; b < w.n_blocks; ++b) {
      const bool whole = (b + 1) * kBlockDims <= w.padded;
      const ValueFunction* const value = whole ? kValueHeads<4> : kValueHeads<2>;
      for (size_t h = 0; h < n_heads; h += kHeads) {
        value[std::min(kHeads, n_heads - h) - 1](
            w.p + h * kTile / 2, shrink + h0 + h, w.tile.values + b * kBlockDims * kTile / 2,
            (hi + 1) / 2, w.values + (b * w.chunk + h0 + h) * kBlockDims);
      }
    }
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

}  // namespace

void attend_kv_avx512bf16(const AttendKvArgs& a) {
  static const Kernels& simd = *simd_kernels().front();
  if (a.products != Products::bf16 || a.k_format != RowFormat::bf16 ||
      a.v_format != RowFormat::bf16) {
    simd.attend_kv(a);
    return;
  }
  const Workspace workspace(a, round_up(static_cast<size_t>(a.head_dim), kStep));
  const auto n_heads = static_cast<size_t>(a.n_queries * a.n_heads);
  for (size_t h = 0; h < n_heads; h += workspace.chunk) {
    attend_kv_chunk(a, h, std::min(workspace.chunk, n_heads - h), workspace);
  }
}

}  // namespace varve

#endif
