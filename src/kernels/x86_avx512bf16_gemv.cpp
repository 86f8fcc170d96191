#include "kernels/x86_avx512bf16_gemv.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include "kernels/x86_avx512bf16-inl.h"

namespace varve {
namespace {

// Rows that are worked on side by side: few, for they are as many streams through the first cache,
// but enough to hide the latency of the sums.
constexpr int kGemvRows = 4;

/// Reads memory ahead of the rows at work: line by line through the rows behind them, up to the end
/// of the call's, so that memory sees one stream however many rows are worked on. Non-temporal: a
/// line that leaves the first cache is not written on to the outer ones, whose traffic would be the
/// memory's.
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
    for (int i = 0; i < n; ++i) _mm_prefetch(at_ + i * 64, _MM_HINT_NTA);
    at_ += n * 64;
  }

 private:
  // Bytes: what a core wants under way, and a part of the first cache (`varve bench` on flash-6l;
  // from 4 to 32 KiB it hardly matters).
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
/// the instruction would read as zero becomes the zero of its sign.
VARVE_TARGET bool scale_inputs(const Weight& w, int r, const uint16_t* x, uint16_t* to) {
  const auto n_cols = static_cast<size_t>(w.n_cols);
  const Scales scales = scales_of(w, r);
  const __m512i field = _mm512_set1_epi16(0x7F80), magnitude = _mm512_set1_epi16(0x7FFF);
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
      _mm512_mask_storeu_epi16(
          to + c, some,
          _mm512_mask_add_epi16(_mm512_andnot_si512(magnitude, value), normal, value, shift));
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
  for (; r + kGemvRows <= end; r += kGemvRows) {
    gemv_bytes_rows<kGemvRows>(*a.weight, r, x, Ahead(*a.weight, r, kGemvRows, a.row_end), a.y + r);
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
  const auto block = [&](size_t b,
                         __m512i value) __attribute__((always_inline, target(VARVE_FEATURES))) {
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

bool has_scale_every_step(const Weight& w) {
  return w.scales != nullptr && w.scale_cols == int{kStep};
}

}  // namespace

void gemv_avx512bf16(const LinearBf16Args& a, int begin, int end) {
  switch (a.weight->type) {
    case DType::bf16:
      gemv<Bf16, kGemvRows>(a, begin, end);
      break;
    case DType::f8_e4m3:
      gemv_e4m3(a, begin, end);
      break;
    default:
      (has_scale_every_step(*a.weight) ? gemv_e2m1 : gemv<E2m1, kGemvRows>)(a, begin, end);
  }
}

}  // namespace varve

#endif
