// Attention over keys and values that lie by position, for several queries that share them.

#if defined(VARVE_SIMD_ATTEND_KV_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef VARVE_SIMD_ATTEND_KV_INL_H
#undef VARVE_SIMD_ATTEND_KV_INL_H
#else
#define VARVE_SIMD_ATTEND_KV_INL_H
#endif

#include "kernels/simd_attend-inl.h"
#include "kernels/simd_kv_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace varve {
namespace HWY_NAMESPACE {

/// n_rows rows from `run` on as f32, filled up to dim: where they lie, or decoded into `room`. In
/// group formats they are values.
HWY_INLINE void kv_rows(const std::byte* run, RowFormat format, int head_dim, size_t dim,
                        int n_rows, float* room, const float** rows) {
  const RowShape shape{head_dim, 0, false};
  const size_t bytes = row_bytes(format, shape);
  const auto n = static_cast<size_t>(head_dim);
  if (const GroupFormat* const groups = group_format(format)) {
    const KvTile tile(*groups, head_dim);
    for (int k = 0; k < n_rows; k += kKvTileRows) {
      decode_value_tile(*groups, tile, run + static_cast<size_t>(k) * bytes,
                        room + static_cast<size_t>(k) * dim, dim);
    }
    for (int k = 0; k < n_rows; ++k) rows[k] = room + static_cast<size_t>(k) * dim;
    return;
  }
  for (int k = 0; k < n_rows; ++k) {
    const std::byte* const stored = run + static_cast<size_t>(k) * bytes;
    if (format == RowFormat::f32 && dim == n) {
      rows[k] = reinterpret_cast<const float*>(stored);
      continue;
    }
    float* const to = room + static_cast<size_t>(k) * dim;
    decode_attend_row({stored, format}, shape, to);
    std::memset(to + n, 0, (dim - n) * sizeof(float));
    rows[k] = to;
  }
}

struct KvWorkspace {
  float* rows;    // [kAttendTile, dim]: keys, then values
  float* q;       // [chunk, dim]
  float* scores;  // [chunk, kAttendTile]
  float* sums;    // [chunk, dim]
};

HWY_INLINE bool has_tiles(const AttendKvArgs& a) {
  return group_format(a.k_format) != nullptr || group_format(a.v_format) != nullptr;
}

/// scores[h][0, n_rows) of rows [row, row + n_rows) of a run, heads kAttendTile scores apart.
HWY_INLINE void kv_scores(const AttendKvArgs& a, const KvRun& run, int row, int n_rows, size_t dim,
                          const float* q, int n_heads, float* room, float* scores) {
  const RowShape shape{a.head_dim, 0, false};
  const size_t bytes = row_bytes(a.k_format, shape);
  const std::byte* const keys = run.keys + static_cast<size_t>(row) * bytes;
  if (const GroupFormat* const groups = group_format(a.k_format)) {
    const KvTile tile(*groups, a.head_dim);
    for (int k = 0; k < n_rows; k += kKvTileRows) {
      decode_key_tile(*groups, tile, keys + static_cast<size_t>(k) * bytes, room);
      score_key_tile_heads(q, n_heads, dim, room, a.scale, scores + k);
    }
    return;
  }
  const float* rows[kAttendTile];
  kv_rows(keys, a.k_format, a.head_dim, dim, n_rows, room, rows);
  attend_scores(q, n_heads, dim, rows, n_rows, a.scale, scores);
}

/// Heads [first, first + n) of the call, query by query.
HWY_INLINE void attend_kv_chunk(const AttendKvArgs& a, int first, int n, size_t dim,
                                const KvWorkspace& w) {
  const auto head_dim = static_cast<size_t>(a.head_dim);
  const int step = has_tiles(a) ? kKvTileRows : 1;  // rows that are read together
  float running_max[kChunkHeads], running_sum[kChunkHeads], shrink[kChunkHeads];
  int seen_from[kChunkHeads] = {}, seen_to[kChunkHeads] = {};
  for (int h = 0; h < n; ++h) {
    const int query = (first + h) / a.n_heads;
    const float* const q = a.q + static_cast<size_t>(query) * a.q_stride +
                           static_cast<size_t>((first + h) % a.n_heads) * head_dim;
    float* const to = w.q + static_cast<size_t>(h) * dim;
    std::memcpy(to, q, head_dim * sizeof(float));
    std::memset(to + head_dim, 0, (dim - head_dim) * sizeof(float));
    if (a.products == Products::bf16) round_inputs(to, dim, to);
    running_max[h] = -std::numeric_limits<float>::infinity();
    running_sum[h] = 0;
    seen_from[h] = a.first_seen(query);
    seen_to[h] = a.end_seen(query);
  }
  std::memset(w.sums, 0, static_cast<size_t>(n) * dim * sizeof(float));
  // Later queries see from and up to later positions.
  const int stop = seen_to[n - 1];
  for (int begin = seen_from[0] / kAttendTile * kAttendTile; begin < stop; begin += kAttendTile) {
    int h0 = 0, h1 = n;  // those that see some of the tile, whose row k is the position begin + k
    const auto sees_none = [&](int h) {
      return HWY_MIN(seen_to[h], begin + kAttendTile) <= HWY_MAX(seen_from[h], begin);
    };
    while (h0 < n && sees_none(h0)) ++h0;
    while (h1 > h0 && sees_none(h1 - 1)) --h1;
    if (h0 == h1) continue;
    // Rows [k0, k1) of the tile are read; whole tiles of rows where some lie so.
    const int k0 = HWY_MAX(seen_from[h0] - begin, 0) / step * step;
    const int k1 = HWY_MIN(stop - begin, kAttendTile);
    const int n_rows = k1 - k0;
    const KvRun& run = a.runs[begin / a.run_rows - a.first_run];
    const int row = begin % a.run_rows + k0;
    const int n_heads = h1 - h0;
    kv_scores(a, run, row, n_rows, dim, w.q + static_cast<size_t>(h0) * dim, n_heads, w.rows,
              w.scores + k0);
    for (int h = h0; h < h1; ++h) {
      float* const p = w.scores + (h - h0) * kAttendTile;
      const int from = HWY_MAX(seen_from[h] - begin, 0);
      const int to = HWY_MIN(seen_to[h] - begin, kAttendTile);
      std::fill(p, p + from, -std::numeric_limits<float>::infinity());
      std::fill(p + to, p + kAttendTile, -std::numeric_limits<float>::infinity());
      shrink[h] = attend_softmax(p, &running_max[h], &running_sum[h]);
      if (a.products == Products::bf16) round_inputs(p, kAttendTile, p);
    }
    const float* rows[kAttendTile];
    kv_rows(run.values +
                static_cast<size_t>(row) * row_bytes(a.v_format, RowShape{a.head_dim, 0, false}),
            a.v_format, a.head_dim, dim, n_rows, w.rows, rows);
    float* const sums = w.sums + static_cast<size_t>(h0) * dim;
    size_t d = 0;
    for (; d + kValueVectors * kN <= dim; d += kValueVectors * kN) {
      attend_values_heads<kValueVectors>(w.scores + k0, shrink + h0, n_heads, rows, n_rows, d, sums,
                                         dim);
    }
    for (; d < dim; d += kN) {
      attend_values_heads<1>(w.scores + k0, shrink + h0, n_heads, rows, n_rows, d, sums, dim);
    }
  }
  for (int h = 0; h < n; ++h) {
    const auto head = static_cast<size_t>(first + h);
    a.max[head] = running_max[h];
    a.sum[head] = running_sum[h];
    std::memcpy(a.values + head * head_dim, w.sums + static_cast<size_t>(h) * dim,
                head_dim * sizeof(float));
  }
}

HWY_NOINLINE HWY_MAYBE_UNUSED void attend_kv(const AttendKvArgs& a) {
  // Groups are twice as long as a sum has lanes.
  const size_t dim = has_tiles(a) ? static_cast<size_t>(row_groups(a.head_dim) * kGroupValues)
                                  : round_up_lanes(static_cast<size_t>(a.head_dim));
  const size_t room = kWorkspaceFloats - kAttendTile * dim;
  const int chunk = static_cast<int>(HWY_MIN(size_t{kChunkHeads}, room / (kAttendTile + 2 * dim)));
  KvWorkspace w;
  w.rows = a.workspace;
  w.q = w.rows + kAttendTile * dim;
  w.scores = w.q + static_cast<size_t>(chunk) * dim;
  w.sums = w.scores + static_cast<size_t>(chunk) * kAttendTile;
  const int n = a.n_queries * a.n_heads;
  for (int h = 0; h < n; h += chunk) attend_kv_chunk(a, h, HWY_MIN(chunk, n - h), dim, w);
}
static_assert((kAttendTile + 2) * size_t{kMaxHeadDim} + kAttendTile <= kWorkspaceFloats,
              "a chunk has a head at least");

}  // namespace HWY_NAMESPACE
}  // namespace varve
HWY_AFTER_NAMESPACE();

#endif  // VARVE_SIMD_ATTEND_KV_INL_H
