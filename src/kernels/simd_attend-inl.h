// Attention over rows that are both key and value.

#if defined(VARVE_SIMD_ATTEND_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef VARVE_SIMD_ATTEND_INL_H
#undef VARVE_SIMD_ATTEND_INL_H
#else
#define VARVE_SIMD_ATTEND_INL_H
#endif

#include "kernels/simd_rows-inl.h"
#include "kernels/simd_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace varve {
namespace HWY_NAMESPACE {

// Heads that share one pass over a tile of rows.
constexpr int kChunkHeads = 64;

// Vectors of a value row that one pass over a tile of rows adds up: four heads times four vectors
// of sums leave registers for the rest.
constexpr int kValueVectors = kN == 16 ? 4 : 2;

/// scores[h][k] = scale * (q_h . rows_k) for h < n_heads, k < n_rows. dim is a multiple of kLanes.
HWY_INLINE void attend_scores(const float* q, int n_heads, size_t dim, const float* const* rows,
                              int n_rows, float scale, float* scores) {
  alignas(64) float sums[kTileFloats];
  for (int k = 0; k < n_rows; k += kTileTokens) {
    const int n_keys = HWY_MIN(kTileTokens, n_rows - k);
    for (int h = 0; h < n_heads; h += kTileRows) {
      const int n = HWY_MIN(kTileRows, n_heads - h);
      tile_for<true>(n, n_keys)(q + static_cast<size_t>(h) * dim, dim, rows + k, dim, sums);
      for (int i = 0; i < n_keys; ++i) {
        float folded[kTileRows];
        fold_tile_row(sums + static_cast<size_t>(i) * kTileRows * kLanes, folded);
        for (int j = 0; j < n; ++j) scores[(h + j) * kAttendTile + k + i] = scale * folded[j];
      }
    }
  }
}

/// Turns one head's scores of a tile into exp(score - maximum), moves the running maximum and sum
/// on, and returns the factor that what was summed before shrinks by.
HWY_INLINE float attend_softmax(float* scores, float* running_max, float* running_sum) {
  const DF df;
  VF most = load(scores);
  for (size_t k = kN; k < kAttendTile; k += kN) most = hn::Max(most, load(scores + k));
  float tile_max = hn::GetLane(hn::MaxOfLanes(df, most));
  if (!(tile_max >= *running_max)) tile_max = *running_max;
  const float shrink = exp_one(*running_max - tile_max);  // exp(-inf) = 0 in the first tile
  const VF maximum = set(tile_max);
  VF sum[kParts];
  for (size_t part = 0; part < kParts; ++part) sum[part] = zero();
  for (size_t k = 0; k < kAttendTile; k += kLanes) {
    for (size_t part = 0; part < kParts; ++part) {
      const VF p = exp(hn::Sub(load(scores + k + part * kN), maximum));
      store(p, scores + k + part * kN);
      sum[part] = hn::Add(sum[part], p);
    }
  }
  *running_max = tile_max;
  *running_sum = *running_sum * shrink + fold_lanes(sum);
  return shrink;
}

/// values[h][d, d + V * kN) = shrink_h * them + sum over k of p[h][k] * rows[k][d...], H heads.
template <int H, int V>
HWY_INLINE void attend_values(const float* p, const float* shrink, const float* const* rows,
                              int n_rows, size_t d, float* values, size_t dim) {
  VF sum[H][V];
  for (int h = 0; h < H; ++h) {
    const VF factor = set(shrink[h]);
    for (int v = 0; v < V; ++v) {
      sum[h][v] = hn::Mul(
          load(values + static_cast<size_t>(h) * dim + d + static_cast<size_t>(v) * kN), factor);
    }
  }
  for (int k = 0; k < n_rows; ++k) {
    const float* const row = rows[k] + d;
    VF value[V];
    for (int v = 0; v < V; ++v) value[v] = load(row + static_cast<size_t>(v) * kN);
    for (int h = 0; h < H; ++h) {
      const VF weight = set(p[h * kAttendTile + k]);
      for (int v = 0; v < V; ++v) sum[h][v] = hn::MulAdd(weight, value[v], sum[h][v]);
    }
  }
  for (int h = 0; h < H; ++h) {
    for (int v = 0; v < V; ++v) {
      store(sum[h][v], values + static_cast<size_t>(h) * dim + d + static_cast<size_t>(v) * kN);
    }
  }
}

template <int V>
HWY_INLINE void attend_values_heads(const float* p, const float* shrink, int n_heads,
                                    const float* const* rows, int n_rows, size_t d, float* values,
                                    size_t dim) {
  for (int h = 0; h < n_heads; h += 4) {
    const float* const ph = p + h * kAttendTile;
    float* const vh = values + static_cast<size_t>(h) * dim;
    switch (n_heads - h) {
      case 1:
        attend_values<1, V>(ph, shrink + h, rows, n_rows, d, vh, dim);
        break;
      case 2:
        attend_values<2, V>(ph, shrink + h, rows, n_rows, d, vh, dim);
        break;
      case 3:
        attend_values<3, V>(ph, shrink + h, rows, n_rows, d, vh, dim);
        break;
      default:
        attend_values<4, V>(ph, shrink + h, rows, n_rows, d, vh, dim);
        break;
    }
  }
}

/// Heads [first_head, first_head + n_heads), at most kChunkHeads. q is theirs, filled up to dim, a
/// multiple of kLanes. `packed` has room for kAttendTile rows of dim; null where all rows are f32
/// and need no filling up.
HWY_INLINE void attend_chunk(const AttendArgs& a, const float* q, int first_head, int n_heads,
                             size_t dim, float* scores, float* values, float* packed) {
  const auto head_dim = static_cast<size_t>(a.head_dim);
  float running_max[kChunkHeads], running_sum[kChunkHeads], shrink[kChunkHeads];
  for (int h = 0; h < n_heads; ++h) {
    running_max[h] = -std::numeric_limits<float>::infinity();
    running_sum[h] = 0;
  }
  std::memset(values, 0, static_cast<size_t>(n_heads) * dim * sizeof(float));
  for (int begin = 0; begin < a.n_rows; begin += kAttendTile) {
    const int n_rows = HWY_MIN(kAttendTile, a.n_rows - begin);
    const float* rows[kAttendTile];
    for (int k = 0; k < n_rows; ++k) {
      const AttendRow& stored = a.rows[begin + k];
      if (stored.format == RowFormat::f32 && dim == head_dim) {
        rows[k] = reinterpret_cast<const float*>(stored.bytes);
        continue;
      }
      float* const to = packed + static_cast<size_t>(k) * dim;
      decode_attend_row(stored, {a.head_dim, a.rope_dim, false}, to);
      std::memset(to + head_dim, 0, (dim - head_dim) * sizeof(float));
      rows[k] = to;
    }
    attend_scores(q, n_heads, dim, rows, n_rows, a.scale, scores);
    for (int h = 0; h < n_heads; ++h) {
      float* const p = scores + h * kAttendTile;
      std::fill(p + n_rows, p + kAttendTile, -std::numeric_limits<float>::infinity());
      shrink[h] = attend_softmax(p, &running_max[h], &running_sum[h]);
      if (a.products == Products::bf16) round_inputs(p, kAttendTile, p);
    }
    size_t d = 0;
    for (; d + kValueVectors * kN <= dim; d += kValueVectors * kN) {
      attend_values_heads<kValueVectors>(scores, shrink, n_heads, rows, n_rows, d, values, dim);
    }
    for (; d < dim; d += kN) {
      attend_values_heads<1>(scores, shrink, n_heads, rows, n_rows, d, values, dim);
    }
  }
  for (int h = 0; h < n_heads; ++h) {
    float* const from = values + static_cast<size_t>(h) * dim;
    const int head = first_head + h;
    if (a.max != nullptr) {
      a.max[head] = running_max[h];
      a.sum[head] = running_sum[h];
    } else {
      const VF denominator = set(running_sum[h] + exp_one(a.sinks[head] - running_max[h]));
      for (size_t d = 0; d < dim; d += kN) store(hn::Div(load(from + d), denominator), from + d);
    }
    std::memcpy(a.out + static_cast<size_t>(head) * head_dim, from, head_dim * sizeof(float));
  }
}

HWY_NOINLINE HWY_MAYBE_UNUSED void attend(const AttendArgs& a) {
  const auto head_dim = static_cast<size_t>(a.head_dim);
  const size_t dim = round_up_lanes(head_dim);
  const bool all_f32 = std::all_of(
      a.rows, a.rows + a.n_rows, [](const AttendRow& row) { return row.format == RowFormat::f32; });
  const bool pack_rows = dim != head_dim || !all_f32;
  const bool pack_q = dim != head_dim || a.products == Products::bf16;
  float* const packed = pack_rows ? a.workspace : nullptr;
  float* const rest = a.workspace + (pack_rows ? kAttendTile * dim : 0);
  const size_t room = kWorkspaceFloats - static_cast<size_t>(rest - a.workspace);
  const size_t per_head = kAttendTile + dim + (pack_q ? dim : 0);
  const int chunk = static_cast<int>(HWY_MIN(size_t{kChunkHeads}, room / per_head));
  float* const scores = rest;
  float* const values = scores + chunk * kAttendTile;
  float* const packed_q = values + static_cast<size_t>(chunk) * dim;
  for (int h = 0; h < a.n_heads; h += chunk) {
    const int n = HWY_MIN(chunk, a.n_heads - h);
    const size_t offset = static_cast<size_t>(h) * head_dim;
    const float* q = a.q + offset;
    if (pack_q) {
      for (int i = 0; i < n; ++i) {
        float* const to = packed_q + static_cast<size_t>(i) * dim;
        copy_padded(q + static_cast<size_t>(i) * head_dim, head_dim, to);
        if (a.products == Products::bf16) round_inputs(to, dim, to);
      }
      q = packed_q;
    }
    attend_chunk(a, q, h, n, dim, scores, values, packed);
  }
}
static_assert(kMaxHeadDim % kLanes == 0 &&
              (kAttendTile + 2) * size_t{kMaxHeadDim} + kAttendTile <= kWorkspaceFloats);

}  // namespace HWY_NAMESPACE
}  // namespace varve
HWY_AFTER_NAMESPACE();

#endif  // VARVE_SIMD_ATTEND_INL_H
