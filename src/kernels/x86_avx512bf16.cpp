#include "kernels/x86_avx512bf16.h"

#include "kernels/simd.h"
#include "kernels/x86_avx512vnni.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <algorithm>
#include <cstring>

#include "kernels/x86_avx512-inl.h"
#include "kernels/x86_avx512bf16_attend.h"

#define VARVE_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16,avx512vbmi")))
#define VARVE_INLINE VARVE_TARGET inline __attribute__((always_inline))

namespace varve {
namespace {

constexpr size_t kStep = 32;  // columns of one instruction
constexpr size_t kLanes = 16;

// A codec turns kStep stored values at p into bf16. State: what a scale changes.

struct Bf16 {
  static constexpr size_t kStepBytes = 64;
  struct State {};
  static VARVE_INLINE State scaled(int16_t) { return {}; }
  static VARVE_INLINE __m512i at(const uint8_t* p, const State&) { return _mm512_loadu_si512(p); }
};

struct E4m3 {
  static constexpr size_t kStepBytes = 32;
  using State = E4m3State;
  static VARVE_INLINE State scaled(int16_t scale_exponent) { return e4m3_state(scale_exponent); }
  static VARVE_INLINE __m512i at(const uint8_t* p, const State& state) {
    return bf16_from_e4m3(
        _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), state);
  }
};

struct E2m1 {
  static constexpr size_t kStepBytes = 16;
  struct State {
    __m512i table;  // the 16 values twice: the lookup takes five bits
  };
  static VARVE_INLINE State scaled(int16_t scale_exponent) {
    const __m512i values = _mm512_broadcast_i64x4(_mm256_setr_epi16(
        0, 0x3F00, 0x3F80, 0x3FC0, 0x4000, 0x4040, 0x4080, 0x40C0, static_cast<short>(0x8000),
        static_cast<short>(0xBF00), static_cast<short>(0xBF80), static_cast<short>(0xBFC0),
        static_cast<short>(0xC000), static_cast<short>(0xC040), static_cast<short>(0xC080),
        static_cast<short>(0xC0C0)));
    return {_mm512_mask_add_epi16(values, 0xFEFEFEFE, values, _mm512_set1_epi16(scale_exponent))};
  }
  static VARVE_INLINE __m512i at(const uint8_t* p, const State& state) {
    const __m512i bytes =
        _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    // The low word of each double word keeps the low nibble's code, the high word the high one's.
    const __m512i codes = _mm512_or_si512(bytes, _mm512_slli_epi32(bytes, 12));
    return _mm512_permutexvar_epi16(codes, state.table);
  }
};

VARVE_INLINE __m512 dot(__m512 sum, __m512i w, __m512i x) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(w), reinterpret_cast<__m512bh>(x));
}

/// The four sums of 16 lanes each, folded by 8, 4, 2, 1.
VARVE_INLINE __m128 fold(__m512 a, __m512 b, __m512 c, __m512 d) {
  const __m512 ab =
      _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
  const __m512 cd =
      _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xEE));
  __m512 all =
      _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xDD));
  all = _mm512_add_ps(all, _mm512_permute_ps(all, 0x4E));
  all = _mm512_add_ps(all, _mm512_permute_ps(all, 0xB1));
  const __m512i order = _mm512_zextsi128_si512(_mm_setr_epi32(0, 4, 8, 12));
  return _mm512_castps512_ps128(_mm512_permutexvar_ps(order, all));
}

// No masked store: GCC 12 merges it with the extraction of the low quarter into an instruction
// that faults on what the mask leaves out.
VARVE_INLINE void store_some(__m128 v, int n, float* y) {
  if (n == 4) {
    _mm_storeu_ps(y, v);
    return;
  }
  float some[4];
  _mm_storeu_ps(some, v);
  for (int i = 0; i < n; ++i) y[i] = some[i];
}

// ---- weights

struct Scales {
  const uint8_t* row;  // null: none
  size_t block;        // columns of one scale
};

VARVE_INLINE Scales scales_of(const Weight& w, int r) {
  if (w.scales == nullptr) return {nullptr, static_cast<size_t>(w.n_cols)};
  return {reinterpret_cast<const uint8_t*>(w.scales) +
              static_cast<size_t>((w.first_row + r) / w.scale_rows) * w.scale_row_bytes,
          static_cast<size_t>(w.scale_cols)};
}

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

/// The columns [c, n_cols) of a row, fewer than kStep, with zeros behind them.
template <class Codec>
VARVE_INLINE __m512i decode_tail(const uint8_t* row, size_t c, size_t n_cols,
                                 const typename Codec::State& state) {
  uint8_t tail[Codec::kStepBytes] = {};
  const size_t bytes = ((n_cols - c) * Codec::kStepBytes + kStep - 1) / kStep;
  std::memcpy(tail, row + c / kStep * Codec::kStepBytes, bytes);
  // An odd count of e2m1 leaves a nibble over; its input is zero.
  return Codec::at(tail, state);
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

/// x[0, n), n < kStep, with zeros behind.
VARVE_INLINE __m512i load_tail(const uint16_t* x, size_t n) {
  return _mm512_maskz_loadu_epi16((__mmask32{1} << n) - 1, x);
}

// ---- one token

constexpr int kGemvRows = 4;
// As in simd_linear-inl.h.
constexpr size_t kPrefetchBytes = 4096;

/// The exponents of row r's scales, in place; n rounded up to 32 of them are written.
VARVE_INLINE void ready_scales(const Weight& w, int r, size_t n, int16_t* to) {
  const uint8_t* const row = scales_of(w, r).row;
  for (size_t i = 0; i < n; i += 32) {
    const __mmask32 some = n - i >= 32 ? ~__mmask32{0} : (__mmask32{1} << (n - i)) - 1;
    const __m512i bytes = _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(some, row + i));
    _mm512_storeu_si512(to + i,
                        _mm512_slli_epi16(_mm512_sub_epi16(bytes, _mm512_set1_epi16(127)), 7));
  }
}

/// kBlock: columns of one scale where that is known; 0: scales.block. exponents: R rows,
/// exponents_stride apart; null without scales.
template <class Codec, int R, size_t kBlock>
VARVE_INLINE void gemv_rows(const Weight& w, int r, const uint16_t* x, const int16_t* exponents,
                            size_t exponents_stride, float* y) {
  const auto n_cols = static_cast<size_t>(w.n_cols);
  const size_t n_full = n_cols / kStep * kStep;
  const size_t ahead = std::min(kPrefetchBytes, w.row_bytes);
  const size_t next_group = ahead + w.row_bytes * (kGemvRows - 1);
  const size_t block = kBlock != 0 ? kBlock : scales_of(w, r).block;
  const uint8_t* rows[R];
  __m512 sum[kGemvRows];
  typename Codec::State state[R];
  for (int i = 0; i < kGemvRows; ++i) sum[i] = _mm512_setzero_ps();
  for (int i = 0; i < R; ++i) {
    rows[i] = reinterpret_cast<const uint8_t*>(w.row(r + i));
    state[i] = Codec::scaled(0);
  }
  size_t offset = 0;
  for (size_t c = 0, b = 0; c < n_full; ++b) {
    if (exponents != nullptr) {
      for (int i = 0; i < R; ++i) {
        state[i] = Codec::scaled(exponents[static_cast<size_t>(i) * exponents_stride + b]);
      }
    }
    const size_t block_end = kBlock == kStep ? c + kStep : std::min(c + block, n_full);
    do {
      const __m512i value = _mm512_loadu_si512(x + c);
      if (offset % 64 < Codec::kStepBytes) {
        const size_t distance = offset + (offset + ahead < w.row_bytes ? ahead : next_group);
        for (int i = 0; i < R; ++i) {
          _mm_prefetch(
              reinterpret_cast<const char*>(reinterpret_cast<uintptr_t>(rows[i]) + distance),
              _MM_HINT_T0);
        }
      }
      for (int i = 0; i < R; ++i) {
        sum[i] = dot(sum[i], Codec::at(rows[i] + offset, state[i]), value);
      }
      c += kStep;
      offset += Codec::kStepBytes;
    } while (c < block_end);
  }
  if (n_full < n_cols) {
    const __m512i value = load_tail(x + n_full, n_cols - n_full);
    for (int i = 0; i < R; ++i) {
      if (exponents != nullptr) {
        state[i] =
            Codec::scaled(exponents[static_cast<size_t>(i) * exponents_stride + n_full / block]);
      }
      sum[i] = dot(sum[i], decode_tail<Codec>(rows[i], n_full, n_cols, state[i]), value);
    }
  }
  store_some(fold(sum[0], sum[1], sum[2], sum[3]), R, y);
}

template <class Codec, size_t kBlock>
VARVE_TARGET void gemv(const LinearBf16Args& a, int begin, int end) {
  const Weight& w = *a.weight;
  auto* const workspace = reinterpret_cast<int16_t*>(a.workspace);
  const bool scaled = w.scales != nullptr;
  const size_t n_scales =
      scaled ? static_cast<size_t>((w.n_cols + w.scale_cols - 1) / w.scale_cols) : 0;
  const size_t stride = (n_scales + 31) / 32 * 32;
  const int16_t* const exponents = scaled ? workspace : nullptr;
  for (int r = begin; r < end;) {
    const int n = end - r >= kGemvRows ? kGemvRows : 1;
    for (int i = 0; i < n && scaled; ++i) {
      ready_scales(w, r + i, n_scales, workspace + static_cast<size_t>(i) * stride);
    }
    if (n == kGemvRows) {
      gemv_rows<Codec, kGemvRows, kBlock>(w, r, a.x, exponents, stride, a.y + r);
    } else {
      gemv_rows<Codec, 1, kBlock>(w, r, a.x, exponents, stride, a.y + r);
    }
    r += n;
  }
}
static_assert(kGemvRows * (kMaxColumns / kStep + 32) * sizeof(int16_t) <=
              kWorkspaceFloats * sizeof(float));

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

template <class Codec>
void rows(const LinearBf16Args& a, int begin, int end) {
  if (a.n_tokens == 1 && a.weight->scales != nullptr && a.weight->scale_cols == int{kStep}) {
    gemv<Codec, kStep>(a, begin, end);
  } else if (a.n_tokens == 1) {
    gemv<Codec, 0>(a, begin, end);
  } else {
    gemm<Codec>(a, begin, end);
  }
}

void linear_bf16(const LinearBf16Args& a) {
  static const Kernels& simd = *simd_kernels().front();
  const Weight& w = *a.weight;
  if (!fits(w)) {
    simd.linear_bf16(a);
    return;
  }
  // Rows that share a block of scales share the answer.
  for (int begin = a.row_begin; begin < a.row_end;) {
    const bool here = row_scales_fit(w, begin);
    int end = begin + 1;
    while (end < a.row_end && ((w.first_row + end) % w.scale_rows != 0 || w.scales == nullptr ||
                               row_scales_fit(w, end) == here)) {
      ++end;
    }
    if (!here) {
      LinearBf16Args part = a;
      part.row_begin = begin;
      part.row_end = end;
      simd.linear_bf16(part);
    } else if (w.type == DType::bf16) {
      rows<Bf16>(a, begin, end);
    } else if (w.type == DType::f8_e4m3) {
      rows<E4m3>(a, begin, end);
    } else {
      rows<E2m1>(a, begin, end);
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
        __builtin_cpu_supports("avx512vbmi");
    if (!supported || simd_kernels().empty()) return nullptr;
    static Kernels set = *simd_kernels().front();
    set.name = "avx512bf16";
    set.description = "AVX3 with AVX512-BF16 dot products";
    set.linear_bf16 = linear_bf16;
    set.attend = attend_avx512bf16;
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
