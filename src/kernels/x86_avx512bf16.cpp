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

/// The 16 values of e2m1 under each scale that fits, twice over, in bf16.
struct E2m1Tables {
  alignas(64) uint16_t of_scale[256][32];
};

constexpr E2m1Tables make_e2m1_tables() {
  constexpr uint16_t kMagnitudes[8] = {0, 0x3F00, 0x3F80, 0x3FC0, 0x4000, 0x4040, 0x4080, 0x40C0};
  E2m1Tables tables{};
  for (int scale = kLeastScale; scale <= kMostScale; ++scale) {
    for (int code = 1; code < 8; ++code) {
      const int magnitude = kMagnitudes[code] + (scale - 127) * 128;
      for (int copy = 0; copy < 32; copy += 16) {
        tables.of_scale[scale][copy + code] = static_cast<uint16_t>(magnitude);
        tables.of_scale[scale][copy + 8 + code] = static_cast<uint16_t>(magnitude | 0x8000);
      }
    }
    tables.of_scale[scale][8] = tables.of_scale[scale][24] = 0x8000;
  }
  return tables;
}

constexpr E2m1Tables kE2m1Tables = make_e2m1_tables();

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
    const void* table;  // the 16 values twice: the lookup takes five bits
  };
  static VARVE_INLINE State scaled(int16_t scale_exponent) {
    return {kE2m1Tables.of_scale[(scale_exponent >> 7) + 127]};
  }
  static VARVE_INLINE __m512i at(const uint8_t* p, const State& state) {
    const __m512i bytes =
        _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    // The low word of each double word keeps the low nibble's code, the high word the high one's.
    const __m512i codes = _mm512_or_si512(bytes, _mm512_slli_epi32(bytes, 12));
    return _mm512_permutexvar_epi16(codes, _mm512_load_si512(state.table));
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

// Rows that are worked on side by side: few, for they are as many streams through the first cache,
// but enough to hide the latency of the sums.
constexpr int kGemvRows = 4;
constexpr int kWideRows = 2;  // where a step of a row is 64 bytes

/// Reads memory ahead of the rows at work: line by line through the rows behind them, up to the end
/// of the call's, so that memory sees one stream however many rows are worked on.
class Ahead {
 public:
  /// n rows from r on are worked on, all before `end`.
  VARVE_INLINE Ahead(const Weight& w, int r, int n, int end) {
    const auto* const data = reinterpret_cast<const char*>(w.data);
    const size_t distance = std::max(kDistance, static_cast<size_t>(n) * w.row_bytes);
    at_ = data + static_cast<size_t>(r) * w.row_bytes + distance;
    end_ = data + static_cast<size_t>(end) * w.row_bytes;
  }
  /// The next n lines.
  template <int n>
  VARVE_INLINE void fetch() {
    if (at_ >= end_) return;
    for (int i = 0; i < n; ++i) _mm_prefetch(at_ + i * 64, _MM_HINT_T0);
    at_ += n * 64;
  }

 private:
  // Bytes: what a core wants under way, and a part of the first cache.
  static constexpr size_t kDistance = 8192;
  const char* at_;
  const char* end_;
};

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

/// exponents: of R rows, exponents_stride apart; null without scales.
template <class Codec, int R>
VARVE_INLINE void gemv_rows(const Weight& w, int r, const uint16_t* x, const int16_t* exponents,
                            size_t exponents_stride, Ahead ahead, float* y) {
  const auto n_cols = static_cast<size_t>(w.n_cols);
  const size_t block = scales_of(w, r).block;
  const uint8_t* rows[R];
  __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                   _mm512_setzero_ps()};
  typename Codec::State state[R];
  for (int i = 0; i < R; ++i) {
    rows[i] = reinterpret_cast<const uint8_t*>(w.row(r + i));
    state[i] = Codec::scaled(0);
  }
  size_t offset = 0;
  for (size_t c = 0, b = 0; c < n_cols; ++b) {
    if (exponents != nullptr) {
      for (int i = 0; i < R; ++i) {
        state[i] = Codec::scaled(exponents[static_cast<size_t>(i) * exponents_stride + b]);
      }
    }
    const size_t block_end = std::min(c + block, n_cols);
    for (; c + kStep <= block_end; c += kStep, offset += Codec::kStepBytes) {
      const __m512i value = _mm512_loadu_si512(x + c);
      if (offset % 64 == 0) ahead.fetch<R>();
      for (int i = 0; i < R; ++i) {
        sum[i] = dot(sum[i], Codec::at(rows[i] + offset, state[i]), value);
      }
    }
    if (c < block_end) {  // only at the end of the row
      const __m512i value = load_tail(x + c, n_cols - c);
      for (int i = 0; i < R; ++i) {
        sum[i] = dot(sum[i], decode_tail<Codec>(rows[i], c, n_cols, state[i]), value);
      }
      c = n_cols;
    }
  }
  store_some(fold(sum[0], sum[1], sum[2], sum[3]), R, y);
}

template <class Codec, int R>
VARVE_TARGET void gemv(const LinearBf16Args& a, int begin, int end) {
  const Weight& w = *a.weight;
  auto* const workspace = reinterpret_cast<int16_t*>(a.workspace);
  const bool scaled = w.scales != nullptr;
  const size_t n_scales =
      scaled ? static_cast<size_t>((w.n_cols + w.scale_cols - 1) / w.scale_cols) : 0;
  const size_t stride = (n_scales + 31) / 32 * 32;
  const int16_t* const exponents = scaled ? workspace : nullptr;
  for (int r = begin; r < end;) {
    const int n = end - r >= R ? R : 1;
    for (int i = 0; i < n && scaled; ++i) {
      ready_scales(w, r + i, n_scales, workspace + static_cast<size_t>(i) * stride);
    }
    const Ahead ahead(w, r, n, a.row_end);
    if (n == R) {
      gemv_rows<Codec, R>(w, r, a.x, exponents, stride, ahead, a.y + r);
    } else {
      gemv_rows<Codec, 1>(w, r, a.x, exponents, stride, ahead, a.y + r);
    }
    r += n;
  }
}
static_assert(kGemvRows * (kMaxColumns / kStep + 32) * sizeof(int16_t) <=
              kWorkspaceFloats * sizeof(float));

// ---- one token, e4m3 in blocks of scales: the scales go to the inputs
//
// A product of a weight, a power of two and an input is one number whichever of the two takes the
// power; so these rows equal gemv_rows() in every bit, and need no more than a look-up by byte.

constexpr size_t kBytesStep = 64;     // columns of two instructions
constexpr int kLeastSharedRows = 16;  // rows of a scale from which scaling the inputs pays

struct E4m3Bytes {
  alignas(64) uint8_t low[128];
  alignas(64) uint8_t high[128];
};

constexpr E4m3Bytes make_e4m3_bytes() {
  constexpr uint16_t kSubnormals[8] = {0, 0x3B00, 0x3B80, 0x3BC0, 0x3C00, 0x3C20, 0x3C40, 0x3C60};
  E4m3Bytes bytes{};
  for (int code = 0; code < 128; ++code) {
    const int value = code < 8 ? kSubnormals[code] : (120 << 7) + (code << 4);
    bytes.low[code] = static_cast<uint8_t>(value & 0xFF);
    bytes.high[code] = static_cast<uint8_t>(value >> 8);
  }
  return bytes;
}

constexpr E4m3Bytes kE4m3Bytes = make_e4m3_bytes();

/// to[0, n_cols) = x times the scales of row r. False where that leaves the normal numbers. What
/// the instruction would read as zero becomes zero.
VARVE_TARGET bool scale_inputs(const Weight& w, int r, const uint16_t* x, uint16_t* to) {
  const auto n_cols = static_cast<size_t>(w.n_cols);
  const Scales scales = scales_of(w, r);
  const __m512i field = _mm512_set1_epi16(0x7F80);
  __mmask32 outside = 0;
  for (size_t c = 0, b = 0; c < n_cols; ++b) {
    const size_t end = std::min(c + scales.block, n_cols);
    const __m512i shift =
        _mm512_set1_epi16(scales.row == nullptr ? int16_t{0} : exponent_of(scales.row[b]));
    for (; c < end; c += kStep) {
      const __mmask32 some = end - c >= kStep ? ~__mmask32{0} : (__mmask32{1} << (end - c)) - 1;
      const __m512i value = _mm512_maskz_loadu_epi16(some, x + c);
      const __m512i exponent = _mm512_and_si512(value, field);
      const __mmask32 normal = _mm512_test_epi16_mask(value, field);
      const __m512i scaled = _mm512_add_epi16(exponent, shift);
      // As signed words: below 1 << 7, or past the largest exponent, or no number before.
      outside |= _mm512_mask_cmplt_epi16_mask(normal, scaled, _mm512_set1_epi16(0x80)) |
                 _mm512_mask_cmpge_epi16_mask(normal, scaled, field) |
                 _mm512_mask_cmpeq_epi16_mask(normal, exponent, field);
      _mm512_mask_storeu_epi16(to + c, some, _mm512_maskz_add_epi16(normal, value, shift));
    }
    c = end;
  }
  return outside == 0;
}

template <int R>
VARVE_INLINE void gemv_bytes_rows(const Weight& w, int r, const uint16_t* x, Ahead ahead,
                                  float* y) {
  const auto n_cols = static_cast<size_t>(w.n_cols);
  const size_t n_steps = n_cols / kBytesStep * kBytesStep;
  const __m512i low0 = _mm512_load_si512(kE4m3Bytes.low);
  const __m512i low1 = _mm512_load_si512(kE4m3Bytes.low + 64);
  const __m512i high0 = _mm512_load_si512(kE4m3Bytes.high);
  const __m512i high1 = _mm512_load_si512(kE4m3Bytes.high + 64);
  // Quad words so that the lower halves of the lanes are the first 32 columns.
  const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
  const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
  const uint8_t* rows[R];
  __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                   _mm512_setzero_ps()};
  for (int i = 0; i < R; ++i) rows[i] = reinterpret_cast<const uint8_t*>(w.row(r + i));
  size_t c = 0;
  for (; c < n_steps; c += kBytesStep) {
    const __m512i x0 = _mm512_loadu_si512(x + c), x1 = _mm512_loadu_si512(x + c + kStep);
    ahead.fetch<R>();
    for (int i = 0; i < R; ++i) {
      const __m512i codes = _mm512_permutexvar_epi64(order, _mm512_loadu_si512(rows[i] + c));
      const __m512i low = _mm512_permutex2var_epi8(low0, codes, low1);
      const __m512i magnitude = _mm512_permutex2var_epi8(high0, codes, high1);
      // magnitude | (codes & sign)
      const __m512i high = _mm512_ternarylogic_epi32(magnitude, codes, sign, 0xF8);
      sum[i] = dot(sum[i], _mm512_unpacklo_epi8(low, high), x0);
      sum[i] = dot(sum[i], _mm512_unpackhi_epi8(low, high), x1);
    }
  }
  const E4m3::State state = E4m3::scaled(0);
  for (; c + kStep <= n_cols; c += kStep) {
    const __m512i value = _mm512_loadu_si512(x + c);
    for (int i = 0; i < R; ++i) sum[i] = dot(sum[i], E4m3::at(rows[i] + c, state), value);
  }
  if (c < n_cols) {
    const __m512i value = load_tail(x + c, n_cols - c);
    for (int i = 0; i < R; ++i) {
      sum[i] = dot(sum[i], decode_tail<E4m3>(rows[i], c, n_cols, state), value);
    }
  }
  store_some(fold(sum[0], sum[1], sum[2], sum[3]), R, y);
}

/// Rows [begin, end), which all have the scales of `begin`. False, and nothing done, where the
/// inputs do not fit.
VARVE_TARGET bool gemv_bytes(const LinearBf16Args& a, int begin, int end) {
  auto* const x = reinterpret_cast<uint16_t*>(a.workspace);
  if (!scale_inputs(*a.weight, begin, a.x, x)) return false;
  int r = begin;
  for (; r + kWideRows <= end; r += kWideRows) {
    gemv_bytes_rows<kWideRows>(*a.weight, r, x, Ahead(*a.weight, r, kWideRows, a.row_end), a.y + r);
  }
  for (; r < end; ++r)
    gemv_bytes_rows<1>(*a.weight, r, x, Ahead(*a.weight, r, 1, a.row_end), a.y + r);
  return true;
}

void gemv_e4m3(const LinearBf16Args& a, int begin, int end) {
  const Weight& w = *a.weight;
  for (int r = begin; r < end;) {
    const int shared = w.scales == nullptr ? end : w.scale_rows - (w.first_row + r) % w.scale_rows;
    const int next = std::min(r + shared, end);
    if (next - r < kLeastSharedRows || !gemv_bytes(a, r, next)) gemv<E4m3, kGemvRows>(a, r, next);
    r = next;
  }
}

// ---- one token, e2m1 with a scale every kStep columns of a row

template <int R>
VARVE_INLINE void gemv_e2m1_rows(const Weight& w, int r, const uint16_t* x, Ahead ahead, float* y) {
  const auto n_cols = static_cast<size_t>(w.n_cols);
  const size_t n_blocks = n_cols / kStep;
  const uint8_t* rows[R];
  const uint8_t* scales[R];
  __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                   _mm512_setzero_ps()};
  for (int i = 0; i < R; ++i) {
    rows[i] = reinterpret_cast<const uint8_t*>(w.row(r + i));
    scales[i] = scales_of(w, r + i).row;
  }
  const auto block =
      [&](size_t b, __m512i value) __attribute__((
          always_inline, target("avx512f,avx512bw,avx512vl,avx512bf16,avx512vbmi"))) {
        for (int i = 0; i < R; ++i) {
          const E2m1::State state{kE2m1Tables.of_scale[scales[i][b]]};
          sum[i] = dot(sum[i], E2m1::at(rows[i] + b * E2m1::kStepBytes, state), value);
        }
      };
  size_t b = 0;
  for (; b + 4 <= n_blocks; b += 4) {
    ahead.fetch<R>();
    for (size_t i = b; i < b + 4; ++i) block(i, _mm512_loadu_si512(x + i * kStep));
  }
  for (; b < n_blocks; ++b) block(b, _mm512_loadu_si512(x + b * kStep));
  const size_t c = n_blocks * kStep;
  if (c < n_cols) {
    const __m512i value = load_tail(x + c, n_cols - c);
    for (int i = 0; i < R; ++i) {
      const E2m1::State state{kE2m1Tables.of_scale[scales[i][b]]};
      sum[i] = dot(sum[i], decode_tail<E2m1>(rows[i], c, n_cols, state), value);
    }
  }
  store_some(fold(sum[0], sum[1], sum[2], sum[3]), R, y);
}

VARVE_TARGET void gemv_e2m1(const LinearBf16Args& a, int begin, int end) {
  int r = begin;
  for (; r + kGemvRows <= end; r += kGemvRows) {
    gemv_e2m1_rows<kGemvRows>(*a.weight, r, a.x, Ahead(*a.weight, r, kGemvRows, a.row_end),
                              a.y + r);
  }
  for (; r < end; ++r) {
    gemv_e2m1_rows<1>(*a.weight, r, a.x, Ahead(*a.weight, r, 1, a.row_end), a.y + r);
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

bool has_scale_every_step(const Weight& w) {
  return w.scales != nullptr && w.scale_cols == int{kStep};
}

void rows_by_one_token(const LinearBf16Args& a, int begin, int end) {
  switch (a.weight->type) {
    case DType::bf16:
      gemv<Bf16, kWideRows>(a, begin, end);
      break;
    case DType::f8_e4m3:
      gemv_e4m3(a, begin, end);
      break;
    default:
      (has_scale_every_step(*a.weight) ? gemv_e2m1 : gemv<E2m1, kGemvRows>)(a, begin, end);
  }
}

void rows_by_tokens(const LinearBf16Args& a, int begin, int end) {
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
  if (!fits(w)) {
    simd.linear_bf16(a);
    return;
  }
  const bool own_scales = w.scales != nullptr && w.scale_rows == 1;
  const int most = own_scales ? kCheckedRows : a.row_end - a.row_begin;
  for (int begin = a.row_begin; begin < a.row_end;) {
    const bool here = row_scales_fit(w, begin);
    const int limit = std::min(begin + most, a.row_end);
    int end = begin + 1;
    // Rows that share a block of scales share the answer.
    while (end < limit && ((w.first_row + end) % w.scale_rows != 0 || w.scales == nullptr ||
                           row_scales_fit(w, end) == here)) {
      ++end;
    }
    if (own_scales) prefetch_scales(w, end, std::min(end + most, a.row_end));
    if (!here) {
      LinearBf16Args part = a;
      part.row_begin = begin;
      part.row_end = end;
      simd.linear_bf16(part);
    } else {
      const auto run = a.n_tokens == 1 ? rows_by_one_token : rows_by_tokens;
      run(a, begin, end);
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
