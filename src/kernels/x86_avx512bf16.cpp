#include "kernels/x86_avx512bf16.h"

#include "kernels/simd.h"
#include "kernels/x86_avx512vnni.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <algorithm>
#include <cstring>

#include "kernels/x86_avx512bf16-inl.h"
#include "kernels/x86_avx512bf16_attend.h"
#include "kernels/x86_avx512bf16_gemv.h"
#include "kernels/x86_avx512vnni_blocks.h"

namespace varve {
namespace {

// ---- weights

/// Whether this set's arithmetic fits the weight at all.
bool fits(const Weight& w) {
  if (w.type == DType::bf16) return w.scales == nullptr;
  if (w.type != DType::f8_e4m3 && w.type != DType::e2m1x2) return false;
  return w.scales == nullptr ||
         (w.scale_type == DType::f8_e8m0 && w.scale_cols % static_cast<int>(kStep) == 0);
}

/// Whether all scales of row r do.
VARVE_TARGET bool row_scales_fit(const Weight& w, int r) {
  if (w.scales == nullptr) return true;
  const uint8_t* const row = scales_of(w, r).row;
  const auto n = static_cast<size_t>((w.n_cols + w.scale_cols - 1) / w.scale_cols);
  return scales_fit(row, n);
}

/// Whether all scales of rows [begin, end) do, each of which has its own.
VARVE_TARGET bool own_scales_fit(const Weight& w, int begin, int end) {
  const auto n = static_cast<size_t>((w.n_cols + w.scale_cols - 1) / w.scale_cols);
  return scales_fit(scales_of(w, begin).row,
                    static_cast<size_t>(end - begin - 1) * w.scale_row_bytes + n);
}

/// out[0, ...) = columns [begin, end) of row r, zeros up to a multiple of kStep, which `begin` is.
template <class Codec>
VARVE_INLINE void decode_columns(const Weight& w, int r, size_t begin, size_t end, uint16_t* out) {
  const auto* const row = reinterpret_cast<const uint8_t*>(w.row(r));
  const Scales scales = scales_of(w, r);
  for (size_t c = begin; c < end;) {
    const size_t b = c / scales.block;
    const size_t block_end = std::min((b + 1) * scales.block, end);
    const typename Codec::State state =
        Codec::scaled(scales.row == nullptr ? int16_t{0} : exponent_of(scales.row[b]));
    for (; c + kStep <= block_end; c += kStep) {
      _mm512_storeu_si512(out + (c - begin), Codec::at(row + c / kStep * Codec::kStepBytes, state));
    }
    if (c < block_end) {  // only at the end of the row
      _mm512_storeu_si512(out + (c - begin), decode_tail<Codec>(row, c, end, state));
      c = end;
    }
  }
}

// ---- several tokens; the blocking is that of simd_linear-inl.h with twice the columns

constexpr int kTileRows = 4;
constexpr int kTileTokens = 6;
constexpr size_t kTileFloats = kLanes * kTileRows * kTileTokens;
constexpr int kPanelCols = 2048;
constexpr size_t kPanelStride = kPanelCols + kStep;
constexpr int kPanelRows = 32;
constexpr int kFewTokens = 2 * kTileTokens;
constexpr int kBlockTokens = kTileTokens * 22;
constexpr size_t kPanelFloats = kPanelStride * kPanelRows / 2;
constexpr size_t kPackedFloats = kPanelStride * kTileTokens / 2;
static_assert(kPanelFloats + kPackedFloats +
                  kTileFloats * (kPanelRows / kTileRows) * (kBlockTokens / kTileTokens) <=
              kWorkspaceFloats);

template <int R, int T, bool kFirst>
VARVE_TARGET void tile(const uint16_t* w, const uint16_t* const* x, size_t n, float* sums) {
  __m512 sum[T][R];
  const uint16_t* xt[T];
  for (int t = 0; t < T; ++t) {
    xt[t] = x[t];
    for (int r = 0; r < R; ++r) {
      const auto at = static_cast<size_t>(t * kTileRows + r);
      if constexpr (kFirst) {
        sum[t][r] = _mm512_setzero_ps();
      } else {
        sum[t][r] = _mm512_loadu_ps(sums + at * kLanes);
      }
    }
  }
  size_t k = 0;
  do {
    __m512i weight[R];
    for (int r = 0; r < R; ++r) {
      weight[r] = _mm512_loadu_si512(w + static_cast<size_t>(r) * kPanelStride + k);
    }
    for (int t = 0; t < T; ++t) {
      const __m512i value = _mm512_loadu_si512(xt[t] + k);
      for (int r = 0; r < R; ++r) sum[t][r] = dot(sum[t][r], weight[r], value);
    }
    k += kStep;
  } while (k < n);
  for (int t = 0; t < T; ++t) {
    for (int r = 0; r < R; ++r) {
      const auto at = static_cast<size_t>(t * kTileRows + r);
      _mm512_storeu_ps(sums + at * kLanes, sum[t][r]);
    }
  }
}

using TileFunction = void (*)(const uint16_t* w, const uint16_t* const* x, size_t n, float* sums);

template <int R, bool kFirst>
TileFunction tile_of_rows(int n_tokens) {
  switch (n_tokens) {
    case 1:
      return tile<R, 1, kFirst>;
    case 2:
      return tile<R, 2, kFirst>;
    case 3:
      return tile<R, 3, kFirst>;
    case 4:
      return tile<R, 4, kFirst>;
    case 5:
      return tile<R, 5, kFirst>;
    default:
      return tile<R, 6, kFirst>;
  }
}

template <bool kFirst>
TileFunction tile_for(int n_rows, int n_tokens) {
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

/// One panel against one block of tokens.
VARVE_TARGET void panel_times_tokens(const LinearBf16Args& a, const uint16_t* panel, int r0,
                                     int n_rows, int t0, int t_end, size_t c0, size_t n,
                                     uint16_t* packed, float* sums) {
  const auto n_cols = static_cast<size_t>(a.weight->n_cols);
  const bool first = c0 == 0, last = c0 + n == n_cols;
  const size_t n_padded = (n + kStep - 1) / kStep * kStep;
  for (int t = t0; t < t_end; t += kTileTokens) {
    const int n_tokens = std::min(kTileTokens, t_end - t);
    const uint16_t* xs[kTileTokens];
    for (int i = 0; i < n_tokens; ++i) {
      xs[i] = a.x + static_cast<size_t>(t + i) * a.x_stride + c0;
      if (n == n_padded) continue;
      uint16_t* const to = packed + static_cast<size_t>(i) * kPanelStride;
      std::memcpy(to, xs[i], n * sizeof(uint16_t));
      std::memset(to + n, 0, (n_padded - n) * sizeof(uint16_t));
      xs[i] = to;
    }
    for (int r = 0; r < n_rows; r += kTileRows, sums += kTileFloats) {
      const int n_tile_rows = std::min(kTileRows, n_rows - r);
      const TileFunction run =
          first ? tile_for<true>(n_tile_rows, n_tokens) : tile_for<false>(n_tile_rows, n_tokens);
      run(panel + static_cast<size_t>(r) * kPanelStride, xs, n_padded, sums);
      if (!last) continue;
      for (int i = 0; i < n_tokens; ++i) {
        const float* const from = sums + static_cast<size_t>(i) * kTileRows * kLanes;
        const __m128 folded =
            fold(_mm512_loadu_ps(from), _mm512_loadu_ps(from + kLanes),
                 _mm512_loadu_ps(from + 2 * kLanes), _mm512_loadu_ps(from + 3 * kLanes));
        store_some(folded, n_tile_rows,
                   a.y + static_cast<size_t>(t + i) * a.y_stride + static_cast<size_t>(r0 + r));
      }
    }
  }
}

template <class Codec>
VARVE_TARGET void gemm(const LinearBf16Args& a, int begin, int end) {
  const Weight& w = *a.weight;
  auto* const panel = reinterpret_cast<uint16_t*>(a.workspace);
  auto* const packed = reinterpret_cast<uint16_t*>(a.workspace + kPanelFloats);
  float* const sums = a.workspace + kPanelFloats + kPackedFloats;
  const int panel_rows = a.n_tokens <= kFewTokens ? kTileRows : kPanelRows;
  const auto n_cols = static_cast<size_t>(w.n_cols);
  for (int r0 = begin; r0 < end; r0 += panel_rows) {
    const int n_rows = std::min(panel_rows, end - r0);
    for (int t0 = 0; t0 < a.n_tokens; t0 += kBlockTokens) {
      const int t_end = std::min(t0 + kBlockTokens, a.n_tokens);
      for (size_t c0 = 0; c0 < n_cols; c0 += kPanelCols) {
        const size_t c_end = std::min(c0 + kPanelCols, n_cols);
        for (int r = 0; r < n_rows; ++r) {
          decode_columns<Codec>(w, r0 + r, c0, c_end,
                                panel + static_cast<size_t>(r) * kPanelStride);
        }
        panel_times_tokens(a, panel, r0, n_rows, t0, t_end, c0, c_end - c0, packed, sums);
      }
    }
  }
}

void gemm_avx512bf16(const LinearBf16Args& a, int begin, int end) {
  switch (a.weight->type) {
    case DType::bf16:
      gemm<Bf16>(a, begin, end);
      break;
    case DType::f8_e4m3:
      gemm<E4m3>(a, begin, end);
      break;
    default:
      gemm<E2m1>(a, begin, end);
  }
}

// Rows with scales of their own that are looked at before they are computed: so few that their
// scales are still in the first cache then.
constexpr int kCheckedRows = 32;

void prefetch_scales(const Weight& w, int begin, int end) {
  const auto* const row = reinterpret_cast<const char*>(w.scales) +
                          static_cast<size_t>(w.first_row + begin) * w.scale_row_bytes;
  const size_t bytes = static_cast<size_t>(end - begin) * w.scale_row_bytes;
  for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(row + i);
}

void linear_bf16(const LinearBf16Args& a) {
  static const Kernels& simd = *simd_kernels().front();
  const Weight& w = *a.weight;
  if (dtype_is_block(w.type) || !fits(w)) {
    simd.linear_bf16(a);
    return;
  }
  const bool own_scales = w.scales != nullptr && w.scale_rows == 1;
  const int most = own_scales ? kCheckedRows : a.row_end - a.row_begin;
  for (int begin = a.row_begin; begin < a.row_end;) {
    const int limit = std::min(begin + most, a.row_end);
    const bool all = w.scales == nullptr || (own_scales && own_scales_fit(w, begin, limit));
    const bool here = all || row_scales_fit(w, begin);
    int end = all ? limit : begin + 1;
    // Rows that share a block of scales share the answer.
    while (end < limit &&
           ((w.first_row + end) % w.scale_rows != 0 || row_scales_fit(w, end) == here)) {
      ++end;
    }
    if (own_scales) prefetch_scales(w, end, std::min(end + most, a.row_end));
    if (!here) {
      LinearBf16Args part = a;
      part.row_begin = begin;
      part.row_end = end;
      simd.linear_bf16(part);
    } else {
      (a.n_tokens == 1 ? gemv_avx512bf16 : gemm_avx512bf16)(a, begin, end);
    }
    begin = end;
  }
}

}  // namespace

const Kernels* avx512bf16_kernels() {
  static const Kernels* const found = []() -> const Kernels* {
    const bool supported =
        __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bf16") &&
        __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi") &&
        __builtin_cpu_supports("avx512vbmi2");
    if (!supported || simd_kernels().empty()) return nullptr;
    static Kernels set = *simd_kernels().front();
    set.name = "avx512bf16";
    set.description = "AVX3 with AVX512-BF16 dot products";
    set.linear_bf16 = linear_bf16;
    set.linear_blocks = linear_blocks_avx512vnni;
    set.group_inputs = group_inputs_avx512vnni;
    set.attend = attend_avx512bf16;
    set.attend_kv = attend_kv_avx512bf16;
    set.row_dots = row_dots_avx512bf16;
    set.kv_dots = kv_dots_avx512bf16;
    if (avx512vnni_index_scores() != nullptr) {
      set.description = "AVX3 with AVX512-BF16 and VNNI dot products";
      set.index_scores_native = avx512vnni_index_scores();
    }
    return &set;
  }();
  return found;
}

}  // namespace varve

#else

namespace varve {
const Kernels* avx512bf16_kernels() {
  return nullptr;
}
}  // namespace varve

#endif
