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

/// sums[t][r] (lanes) = or += over k of w[r][k] * x[t][k], k < n, a multiple of kLanes.
/// `sums` are aligned, kTileRows apart.
template <int R, int T>
HWY_INLINE void tile(const float* w, size_t w_stride, const float* const* x, size_t n, bool first,
                     float* sums) {
  const DF df;
  for (size_t part = 0; part < kParts; ++part) {
    VF sum[T][R];
    const float* xt[T];
    for (int t = 0; t < T; ++t) {
      xt[t] = x[t] + part * kN;
      for (int r = 0; r < R; ++r) {
        const int at = t * kTileRows + r;
        sum[t][r] = first ? hn::Zero(df)
                          : hn::Load(df, sums + static_cast<size_t>(at) * kLanes + part * kN);
      }
    }
    const float* const wp = w + part * kN;
    for (size_t k = 0; k < n; k += kLanes) {
      VF weight[R];
      for (int r = 0; r < R; ++r) weight[r] = load(wp + static_cast<size_t>(r) * w_stride + k);
      for (int t = 0; t < T; ++t) {
        const VF value = load(xt[t] + k);
        for (int r = 0; r < R; ++r) sum[t][r] = hn::MulAdd(weight[r], value, sum[t][r]);
      }
    }
    for (int t = 0; t < T; ++t) {
      for (int r = 0; r < R; ++r) {
        const int at = t * kTileRows + r;
        hn::Store(sum[t][r], df, sums + static_cast<size_t>(at) * kLanes + part * kN);
      }
    }
  }
}

using TileFunction = void (*)(const float* w, size_t w_stride, const float* const* x, size_t n,
                              bool first, float* sums);

template <int R, int T>
HWY_NOINLINE void tile_call(const float* w, size_t w_stride, const float* const* x, size_t n,
                            bool first, float* sums) {
  tile<R, T>(w, w_stride, x, n, first, sums);
}

/// The tile for n_rows <= kTileRows and n_tokens <= kTileTokens.
HWY_INLINE TileFunction tile_for(int n_rows, int n_tokens) {
  static constexpr TileFunction kTiles[kTileRows][6] = {
      {tile_call<1, 1>, tile_call<1, 2>, tile_call<1, 3>, tile_call<1, 4>, tile_call<1, 5>,
       tile_call<1, 6>},
      {tile_call<2, 1>, tile_call<2, 2>, tile_call<2, 3>, tile_call<2, 4>, tile_call<2, 5>,
       tile_call<2, 6>},
      {tile_call<3, 1>, tile_call<3, 2>, tile_call<3, 3>, tile_call<3, 4>, tile_call<3, 5>,
       tile_call<3, 6>},
      {tile_call<4, 1>, tile_call<4, 2>, tile_call<4, 3>, tile_call<4, 4>, tile_call<4, 5>,
       tile_call<4, 6>}};
  return kTiles[n_rows - 1][n_tokens - 1];
}

/// out[0, kTileRows) = the folded sums of one t.
HWY_INLINE void fold_tile_row(const float* sums, float* out) {
  VF lanes[kTileRows][kParts];
  for (size_t r = 0; r < kTileRows; ++r) {
    for (size_t part = 0; part < kParts; ++part) {
      lanes[r][part] = hn::Load(DF(), sums + r * kLanes + part * kN);
    }
  }
  fold_lanes(lanes[0], lanes[1], lanes[2], lanes[3], out);
}

}  // namespace HWY_NAMESPACE
}  // namespace varve
HWY_AFTER_NAMESPACE();

#endif  // VARVE_SIMD_TILE_INL_H
