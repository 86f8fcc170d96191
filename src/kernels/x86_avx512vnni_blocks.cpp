#include "kernels/x86_avx512vnni_blocks.h"

#include <limits>

#if defined(__x86_64__) && defined(__GNUC__)
#include "kernels/x86_avx512vnni_blocks-inl.h"

// Codes are unpacked to a panel of pairs, which meets tiles of tokens.

namespace varve {
namespace {

constexpr int kPanelRows = 32;
constexpr int kPanelVectors = kPanelRows / kLaneRows;
constexpr size_t kPanelCols = 1024;  // kernels_bench, tokens:512: from 512 on it hardly matters
constexpr size_t kPanelGroups = kPanelCols / kGroupCols;
constexpr int kTileTokens = 6;
constexpr int kBlockTokens = kTileTokens * 22;

/// Rows across the lanes, two vectors of them.
struct Panel {
  __m512i pairs[kPanelVectors][kPanelGroups][kGroupPairs];
  __m512 scales[kPanelVectors][kPanelGroups][2];
  __m512 minima[kPanelVectors][kPanelGroups];
};

struct Workspace {
  Panel panel;
  __m512i strip[strip_vectors(bytes_of<Q8Lanes>(kPanelCols))];  // the longest
};
static_assert(sizeof(Workspace) + 64 <= kWorkspaceFloats * sizeof(float));

template <class Codec, int k, int i>
VARVE_INLINE void store_pairs(const typename Codec::Bytes& bytes, __m512i (*pairs)[kGroupPairs]) {
  constexpr int P = Codec::kPairs;
  if constexpr (i < Codec::kUnitGroups * P) {
    pairs[i / P][k * P + i % P] = Codec::template pair<k, i>(bytes);
    store_pairs<Codec, k, i + 1>(bytes, pairs);
  }
}

template <class Codec, int k>
VARVE_INLINE void store_steps(const __m512i* strip, size_t at, int unit,
                              __m512i (*pairs)[kGroupPairs]) {
  if constexpr (k < Codec::kSteps) {
    typename Codec::Bytes bytes;
    bytes.template load<k>(strip, at, unit);
    store_pairs<Codec, k, 0>(bytes, pairs);
    store_steps<Codec, k + 1>(strip, at, unit, pairs);
  }
}

/// Vector v of the panel = columns [c, c + n) of n_rows rows from r on.
template <class Codec>
VARVE_TARGET void unpack_panel(const Weight& w, int r, int n_rows, size_t c, size_t n, int v,
                               Workspace& space) {
  const uint8_t* rows[kLaneRows];
  rows_of(w, r, n_rows, rows);
  Ahead none;
  load_strip(rows, bytes_of<Codec>(c), bytes_of<Codec>(n), w.row_bytes, none, space.strip);
  Panel& panel = space.panel;
  for (size_t g = 0, at = 0; g < n / kGroupCols; g += Codec::kGroups, at += Codec::kBytes) {
    const typename Codec::Scales of_block(space.strip, at);
    for (size_t i = 0; i < Codec::kGroups; ++i) {
      for (size_t s = 0; s < Codec::kScales; ++s) {
        panel.scales[v][g + i][s] = of_block.scales[i * Codec::kScales + s];
      }
      if constexpr (Codec::kHasMinimum) panel.minima[v][g + i] = of_block.minima[i];
    }
    for (int unit = 0; unit < Codec::kGroups / Codec::kUnitGroups; ++unit) {
      store_steps<Codec, 0>(space.strip, at, unit,
                            panel.pairs[v] + g + static_cast<size_t>(unit * Codec::kUnitGroups));
    }
  }
}

/// What a tile needs to know of a codec.
template <class Codec>
struct TileOf {
  static constexpr size_t kScales = Codec::kScales, kSteps = Codec::kSteps, kPairs = Codec::kPairs;
  static constexpr bool kHalves = Codec::kHalves, kHasMinimum = Codec::kHasMinimum;
};

/// y[t, r] = (`first`) or += n_groups groups of the panel times T tokens' inputs, which lie
/// x_stride apart.
template <class Codec, int V, int T>
VARVE_TARGET void tile(const Panel& panel, size_t n_groups, const InputGroup* x, size_t x_stride,
                       bool first, int n_rows, float* y, size_t y_stride) {
  constexpr size_t kSteps = Codec::kSteps / Codec::kScales, P = Codec::kPairs;
  __m512 sum[T][V];
  __mmask16 mask[V];
  const InputGroup* xt[T];
  for (int v = 0; v < V; ++v) mask[v] = lanes_of(n_rows - v * kLaneRows);
  for (int t = 0; t < T; ++t) {
    xt[t] = x + static_cast<size_t>(t) * x_stride;
    for (int v = 0; v < V; ++v) {
      sum[t][v] = first ? _mm512_setzero_ps()
                        : _mm512_maskz_loadu_ps(
                              mask[v], y + static_cast<size_t>(t) * y_stride + v * kLaneRows);
    }
  }
  for (size_t g = 0; g < n_groups; ++g) {
    for (size_t s = 0; s < Codec::kScales; ++s) {
      __m512i dots[T][V];
      for (int t = 0; t < T; ++t) {
        for (int v = 0; v < V; ++v) dots[t][v] = _mm512_setzero_si512();
      }
      for (size_t k = s * kSteps; k < (s + 1) * kSteps; ++k) {
#pragma GCC unroll 4
        for (size_t p = 0; p < P; ++p) {
          __m512i w[V];
          for (int v = 0; v < V; ++v) w[v] = panel.pairs[v][g][k * P + p];
          for (int t = 0; t < T; ++t) {
            const __m512i value = broadcast_pair(xt[t][g].values + column_of<Codec::kHalves>(k, p));
            for (int v = 0; v < V; ++v) dots[t][v] = dot_whole(dots[t][v], w[v], value);
          }
        }
      }
      for (int t = 0; t < T; ++t) {
        const __m512 scale = _mm512_set1_ps(xt[t][g].scale);
        for (int v = 0; v < V; ++v) {
          sum[t][v] = add_scaled(sum[t][v], dots[t][v], panel.scales[v][g][s], scale);
        }
      }
    }
    if constexpr (Codec::kHasMinimum) {
      for (int t = 0; t < T; ++t) {
        const __m512 of_inputs = _mm512_set1_ps(xt[t][g].sum);
        for (int v = 0; v < V; ++v) {
          sum[t][v] = _mm512_fmadd_ps(panel.minima[v][g], of_inputs, sum[t][v]);
        }
      }
    }
  }
  for (int t = 0; t < T; ++t) {
    for (int v = 0; v < V; ++v) {
      _mm512_mask_storeu_ps(y + static_cast<size_t>(t) * y_stride + v * kLaneRows, mask[v],
                            sum[t][v]);
    }
  }
}

using TileFunction = void (*)(const Panel& panel, size_t n_groups, const InputGroup* x,
                              size_t x_stride, bool first, int n_rows, float* y, size_t y_stride);

template <class Codec, int V>
constexpr TileFunction kTiles[kTileTokens] = {tile<Codec, V, 1>, tile<Codec, V, 2>,
                                              tile<Codec, V, 3>, tile<Codec, V, 4>,
                                              tile<Codec, V, 5>, tile<Codec, V, 6>};

/// Columns [c, c + n) of the panel's rows times one block of tokens.
template <class Codec>
VARVE_TARGET void panel_times_tokens(const LinearBlocksArgs& a, int r, int n_rows, size_t c,
                                     size_t n, const InputGroup* x, int t0, int n_tokens,
                                     Workspace& space) {
  for (int v = 0; v * kLaneRows < n_rows; ++v) {
    const int first = v * kLaneRows;
    unpack_panel<Codec>(*a.weight, r + first, std::min(kLaneRows, n_rows - first), c, n, v, space);
  }
  const auto& tiles = n_rows > kLaneRows ? kTiles<TileOf<Codec>, 2> : kTiles<TileOf<Codec>, 1>;
  for (int t = 0; t < n_tokens; t += kTileTokens) {
    const int count = std::min(kTileTokens, n_tokens - t);
    tiles[count - 1](space.panel, n / kGroupCols, x + static_cast<size_t>(t) * a.x_stride,
                     a.x_stride, c == 0, n_rows,
                     a.y + static_cast<size_t>(t0 + t) * a.y_stride + static_cast<size_t>(r),
                     a.y_stride);
  }
}

template <class Codec>
struct Gemm {
  VARVE_TARGET static void run(const LinearBlocksArgs& a) {
    const Weight& w = *a.weight;
    const auto n_cols = static_cast<size_t>(w.n_cols);
    const size_t past_line = reinterpret_cast<uintptr_t>(a.workspace) % 64 / sizeof(float);
    auto& space = *reinterpret_cast<Workspace*>(a.workspace + (16 - past_line) % 16);
    for (int t0 = 0; t0 < a.n_tokens; t0 += kBlockTokens) {
      const int n_tokens = std::min(kBlockTokens, a.n_tokens - t0);
      for (size_t c = 0; c < n_cols; c += kPanelCols) {
        const size_t n = std::min(kPanelCols, n_cols - c);
        const InputGroup* const x = a.x + static_cast<size_t>(t0) * a.x_stride + c / kGroupCols;
        for (int r = a.row_begin; r < a.row_end; r += kPanelRows) {
          panel_times_tokens<Codec>(a, r, std::min(kPanelRows, a.row_end - r), c, n, x, t0,
                                    n_tokens, space);
        }
      }
    }
  }
};

}  // namespace

VARVE_TARGET void group_inputs_avx512vnni(const float* x, size_t n, InputGroup* y) {
  constexpr float kMost = 32767, kLeast = 0x1p-100f;
  const __m512 zero = _mm512_setzero_ps();
  for (size_t i = 0; i < n; i += kGroupCols, ++y) {
    const __m512 low = _mm512_loadu_ps(x + i), high = _mm512_loadu_ps(x + i + 16);
    const float most = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(low), _mm512_abs_ps(high)));
    // 0 * x is NaN for just those that are no finite number.
    const bool finite =
        _mm512_cmp_ps_mask(_mm512_mul_ps(low, zero), _mm512_mul_ps(high, zero), _CMP_UNORD_Q) == 0;
    const bool counts = finite && most >= kLeast;
    const __m512 per_scale = _mm512_set1_ps(counts ? kMost / most : 0);
    const auto whole = [&](__m512 v) VARVE_TARGET {
      return counts ? _mm512_cvtps_epi32(_mm512_mul_ps(v, per_scale)) : _mm512_setzero_si512();
    };
    const __m512i a = whole(low), b = whole(high);
    const auto store = [](__m512i v, int16_t* to) VARVE_TARGET {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtsepi32_epi16(v));
    };
    store(a, y->values);
    store(b, y->values + 16);
    y->scale = !finite ? std::numeric_limits<float>::quiet_NaN() : counts ? most / kMost : 0;
    y->sum = y->scale * static_cast<float>(_mm512_reduce_add_epi32(_mm512_add_epi32(a, b)));
  }
}

void linear_blocks_avx512vnni(const LinearBlocksArgs& a) {
  if (a.n_tokens == 1) {
    gemv_blocks_avx512vnni(a);
  } else {
    with_lanes<Gemm>(a.weight->type, a);
  }
}

}  // namespace varve

#endif
