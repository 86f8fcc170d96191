// The inner loop of every product of two matrices along their rows: R rows times T rows at once,
// each of the R * T sums in its own kLanes lanes.

#if defined(VARVE_SIMD_TILE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef VARVE_SIMD_TILE_INL_H
#undef VARVE_SIMD_TILE_INL_H
#else
#define VARVE_SIMD_TILE_INL_H
#endif

#include "kernels/simd_vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace varve {
namespace HWY_NAMESPACE {

// Sums side by side: as many as leave registers for the operands (32 registers, or 16).
constexpr int kTileRows = 4;
constexpr int kTileTokens = kN == 16 ? 6 : 3;
constexpr size_t kTileFloats = kLanes * kTileRows * kTileTokens;

/// sums[t][r] (lanes) = or, unless kFirst, += over k of w[r][k] * x[t][k], k < n, a positive
/// multiple of kLanes. `sums` lie kTileRows apart.
template <int R, int T, bool kFirst>
HWY_NOINLINE void tile(const float* w, size_t w_stride, const float* const* x, size_t n,
                       float* sums) {
  for (size_t part = 0; part < kParts; ++part) {
    VF sum[T][R];
    const float* xt[T];
    for (int t = 0; t < T; ++t) {
      xt[t] = x[t] + part * kN;
      for (int r = 0; r < R; ++r) {
        const auto at = static_cast<size_t>(t * kTileRows + r);
        if constexpr (kFirst) {
          sum[t][r] = zero();
        } else {
          sum[t][r] = load(sums + at * kLanes + part * kN);
        }
      }
    }
    const float* const wp = w + part * kN;
    size_t k = 0;
    do {
      VF weight[R];
      for (int r = 0; r < R; ++r) weight[r] = load(wp + static_cast<size_t>(r) * w_stride + k);
      for (int t = 0; t < T; ++t) {
        const VF value = load(xt[t] + k);
        for (int r = 0; r < R; ++r) sum[t][r] = hn::MulAdd(weight[r], value, sum[t][r]);
      }
      k += kLanes;
    } while (k < n);
    for (int t = 0; t < T; ++t) {
      for (int r = 0; r < R; ++r) {
        const auto at = static_cast<size_t>(t * kTileRows + r);
        store(sum[t][r], sums + at * kLanes + part * kN);
      }
    }
  }
}

using TileFunction = void (*)(const float* w, size_t w_stride, const float* const* x, size_t n,
                              float* sums);

template <int R, bool kFirst>
HWY_INLINE TileFunction tile_of_rows(int n_tokens) {
  switch (n_tokens) {
    case 1:
      return tile<R, 1, kFirst>;
    case 2:
      return tile<R, 2, kFirst>;
    case 3:
      return tile<R, 3, kFirst>;
    case 4:
      return tile<R, HWY_MIN(4, kTileTokens), kFirst>;
    case 5:
      return tile<R, HWY_MIN(5, kTileTokens), kFirst>;
    default:
      return tile<R, kTileTokens, kFirst>;
  }
}

/// The tile for n_rows <= kTileRows and n_tokens <= kTileTokens.
template <bool kFirst>
HWY_INLINE TileFunction tile_for(int n_rows, int n_tokens) {
  switch (n_rows) {
    case 1:
      return tile_of_rows<1, kFirst>(n_tokens);
    case 2:
      return tile_of_rows<2, kFirst>(n_tokens);
    case 3:
      return tile_of_rows<3, kFirst>(n_tokens);
    default:
      return tile_of_rows<4, kFirst>(n_tokens);
  }
}

/// out[0, kTileRows) = the folded sums of one t.
HWY_INLINE void fold_tile_row(const float* sums, float* out) {
  VF lanes[kTileRows][kParts];
  for (size_t r = 0; r < kTileRows; ++r) {
    for (size_t part = 0; part < kParts; ++part) {
      lanes[r][part] = load(sums + r * kLanes + part * kN);
    }
  }
  fold_lanes(lanes[0], lanes[1], lanes[2], lanes[3], out);
}

}  // namespace HWY_NAMESPACE
}  // namespace varve
HWY_AFTER_NAMESPACE();

#endif  // VARVE_SIMD_TILE_INL_H
