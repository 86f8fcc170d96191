// The indexer's scores: every key of the context meets every index head.
//
// Keys lie across the lanes here: a block of keys is turned into columns once and meets all heads,
// so no sum is ever folded, and each runs in index order whatever the vector width.

#if defined(VARVE_SIMD_INDEX_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef VARVE_SIMD_INDEX_INL_H
#undef VARVE_SIMD_INDEX_INL_H
#else
#define VARVE_SIMD_INDEX_INL_H
#endif

#include "kernels/simd_vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace varve {
namespace HWY_NAMESPACE {

// Heads times vectors of keys that are summed side by side: as many as leave registers for the
// operands.
constexpr int kKeyVectors = kN == 16 ? 4 : 3;
constexpr int kScoreHeads = kN == 16 ? 6 : 4;
constexpr int kKeyBlock = kKeyVectors * static_cast<int>(kN);
// Dimensions of a block that are turned at a time: 32 KiB of columns at most.
constexpr int kKeyDims = 128;

/// Four values of each of kN keys that lie `stride` floats apart: block b holds key 4b + i.
HWY_INLINE VF load_blocks(const float* const* keys, size_t i, size_t d) {
  const hn::FixedTag<float, 4> d4;
#if HWY_MAX_BYTES >= 64
  const hn::FixedTag<float, 8> d8;
  const auto low = hn::Combine(d8, hn::LoadU(d4, keys[4 + i] + d), hn::LoadU(d4, keys[i] + d));
  const auto high =
      hn::Combine(d8, hn::LoadU(d4, keys[12 + i] + d), hn::LoadU(d4, keys[8 + i] + d));
  return hn::Combine(DF(), high, low);
#elif HWY_MAX_BYTES >= 32
  return hn::Combine(DF(), hn::LoadU(d4, keys[4 + i] + d), hn::LoadU(d4, keys[i] + d));
#else
  return hn::LoadU(d4, keys[i] + d);
#endif
}

/// columns[d][k] = keys[k][begin + d] for d < n, k < kKeyBlock.
HWY_INLINE void turn_keys(const float* const* keys, size_t begin, size_t n, float* columns) {
  for (int v = 0; v < kKeyVectors; ++v) {
    const float* const* const group = keys + v * static_cast<int>(kN);
    float* const to = columns + v * static_cast<int>(kN);
    size_t d = 0;
    for (; d + 4 <= n; d += 4) {
      const VF blocks[4] = {load_blocks(group, 0, begin + d), load_blocks(group, 1, begin + d),
                            load_blocks(group, 2, begin + d), load_blocks(group, 3, begin + d)};
      VF turned[4];
      turn_blocks(blocks, turned);
      float* const at = to + d * kKeyBlock;
      for (size_t i = 0; i < 4; ++i) store(turned[i], at + i * kKeyBlock);
    }
    for (; d < n; ++d) {
      for (size_t k = 0; k < kN; ++k) to[d * kKeyBlock + k] = group[k][begin + d];
    }
  }
}

/// dots[h][k] += sum over d of q[h][d] * columns[d][k], for H heads and kKeyBlock keys.
template <int H>
HWY_INLINE void score_columns(const float* q, size_t q_stride, const float* columns, size_t n,
                              float* dots) {
  VF sum[H][kKeyVectors];
  for (int h = 0; h < H; ++h) {
    for (int v = 0; v < kKeyVectors; ++v) {
      sum[h][v] = load(dots + h * kKeyBlock + v * static_cast<int>(kN));
    }
  }
  for (size_t d = 0; d < n; ++d) {
    VF key[kKeyVectors];
    for (int v = 0; v < kKeyVectors; ++v) {
      key[v] = load(columns + d * kKeyBlock + static_cast<size_t>(v) * kN);
    }
    for (int h = 0; h < H; ++h) {
      const VF value = set(q[static_cast<size_t>(h) * q_stride + d]);
      for (int v = 0; v < kKeyVectors; ++v) sum[h][v] = hn::MulAdd(value, key[v], sum[h][v]);
    }
  }
  for (int h = 0; h < H; ++h) {
    for (int v = 0; v < kKeyVectors; ++v) {
      store(sum[h][v], dots + h * kKeyBlock + v * static_cast<int>(kN));
    }
  }
}

HWY_NOINLINE HWY_MAYBE_UNUSED void index_scores(const IndexScoresArgs& a) {
  const auto dim = static_cast<size_t>(a.dim);
  alignas(64) float columns[kKeyDims * kKeyBlock];
  alignas(64) float dots[kScoreHeads * kKeyBlock];
  alignas(64) float scores[kKeyBlock];
  for (int w = 0; w < a.n_keys; w += kKeyBlock) {
    const int n_keys = HWY_MIN(kKeyBlock, a.n_keys - w);
    const float* keys[kKeyBlock];
    for (int k = 0; k < kKeyBlock; ++k) {  // the last key stands in for those behind it
      keys[k] = a.keys + static_cast<size_t>(w + HWY_MIN(k, n_keys - 1)) * dim;
    }
    std::memset(scores, 0, sizeof scores);
    for (int h = 0; h < a.n_heads; h += kScoreHeads) {
      const int n_heads = HWY_MIN(kScoreHeads, a.n_heads - h);
      std::memset(dots, 0, sizeof dots);
      for (size_t d = 0; d < dim; d += kKeyDims) {
        const size_t n = HWY_MIN(dim - d, size_t{kKeyDims});
        if (h == 0 || dim > kKeyDims) turn_keys(keys, d, n, columns);
        const float* const q = a.q + static_cast<size_t>(h) * dim + d;
        switch (n_heads) {
          case 1:
            score_columns<1>(q, dim, columns, n, dots);
            break;
          case 2:
            score_columns<2>(q, dim, columns, n, dots);
            break;
          case 3:
            score_columns<3>(q, dim, columns, n, dots);
            break;
          case 4:
            score_columns<4>(q, dim, columns, n, dots);
            break;
          case 5:
            score_columns<HWY_MIN(5, kScoreHeads)>(q, dim, columns, n, dots);
            break;
          default:
            score_columns<kScoreHeads>(q, dim, columns, n, dots);
            break;
        }
      }
      for (int k = 0; k < kKeyBlock; k += static_cast<int>(kN)) {
        VF score = load(scores + k);
        for (int i = 0; i < n_heads; ++i) {
          const VF positive = hn::Max(load(dots + i * kKeyBlock + k), zero());
          score = hn::MulAdd(set(a.weights[h + i]), positive, score);
        }
        store(score, scores + k);
      }
    }
    std::memcpy(a.scores + w, scores, static_cast<size_t>(n_keys) * sizeof(float));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace varve
HWY_AFTER_NAMESPACE();

#endif  // VARVE_SIMD_INDEX_INL_H
