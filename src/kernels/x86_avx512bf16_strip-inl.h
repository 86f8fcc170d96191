// 16 rows of stored bytes turned round: a strip, in which a vector holds the same four bytes of
// every row, one row a lane.
#pragma once

#include "kernels/x86_avx512bf16-inl.h"

namespace varve {

inline constexpr int kLaneRows = 16;  // rows of a strip

/// The rows of a strip; the last one stands in for those behind it.
VARVE_INLINE void rows_of(const Weight& w, int r, int n_rows, const uint8_t** rows) {
  for (int i = 0; i < kLaneRows; ++i) {
    rows[i] = reinterpret_cast<const uint8_t*>(w.row(r + std::min(i, n_rows - 1)));
  }
}

/// The lanes of the rows that there are.
VARVE_INLINE __mmask16 lanes_of(int n_rows) {
  return static_cast<__mmask16>((1u << std::min(n_rows, kLaneRows)) - 1);
}

/// Reads memory ahead of the rows at work, line by line.
class Ahead {
 public:
  /// Nothing to read.
  Ahead() = default;
  /// Rows [r, end).
  VARVE_INLINE Ahead(const Weight& w, int r, int end)
      : at_(reinterpret_cast<const char*>(w.data) + static_cast<size_t>(r) * w.row_bytes),
        end_(reinterpret_cast<const char*>(w.data) + static_cast<size_t>(end) * w.row_bytes) {}
  /// The next n lines.
  template <size_t n>
  VARVE_INLINE void fetch() {
    if (at_ >= end_) return;
#pragma GCC unroll 32
    for (size_t i = 0; i < n; ++i) _mm_prefetch(at_ + i * kLineBytes, _MM_HINT_T0);
    at_ += n * kLineBytes;
  }
  static constexpr size_t kLineBytes = 64;

 private:
  const char* at_ = nullptr;
  const char* end_ = nullptr;
};

// Lines of four that are read ahead while codes are unpacked; the others while rows are turned
// round. Evenly over time, or memory waits for the one or the other (kernels_bench, tokens:1).
inline constexpr size_t kLinesInDots = 3, kLinesInStrips = 1;

/// 32 bytes of one row, and of another behind them. `some` says which of them are read, unless
/// kAll.
template <bool kAll>
VARVE_INLINE __m512i load_two(const uint8_t* a, const uint8_t* b, __mmask32 some) {
  __m256i low, high;
  if constexpr (kAll) {
    low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a));
    high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b));
  } else {
    low = _mm256_maskz_loadu_epi8(some, a);
    high = _mm256_maskz_loadu_epi8(some, b);
  }
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/// 32-bit value q of 128-bit block b of r[i] becomes value i of block b of to[q].
VARVE_INLINE void turn_blocks(const __m512i* r, __m512i* to) {
  const __m512i low01 = _mm512_unpacklo_epi32(r[0], r[1]);
  const __m512i high01 = _mm512_unpackhi_epi32(r[0], r[1]);
  const __m512i low23 = _mm512_unpacklo_epi32(r[2], r[3]);
  const __m512i high23 = _mm512_unpackhi_epi32(r[2], r[3]);
  to[0] = _mm512_unpacklo_epi64(low01, low23);
  to[1] = _mm512_unpackhi_epi64(low01, low23);
  to[2] = _mm512_unpacklo_epi64(high01, high23);
  to[3] = _mm512_unpackhi_epi64(high01, high23);
}

inline constexpr size_t kPieceBytes = 32;  // of a row, turned round at once
inline constexpr size_t kPieceVectors = kPieceBytes / 4;

template <bool kAll>
VARVE_INLINE void load_piece(const uint8_t* const* rows, size_t at, __mmask32 some,
                             __m512i* strip) {
  __m512i upper[4], lower[4], a[4], b[4];  // rows 0 to 7, 8 to 15
  for (int i = 0; i < 4; ++i) {
    upper[i] = load_two<kAll>(rows[i] + at, rows[4 + i] + at, some);
    lower[i] = load_two<kAll>(rows[8 + i] + at, rows[12 + i] + at, some);
  }
  turn_blocks(upper, a);
  turn_blocks(lower, b);
  for (int q = 0; q < 4; ++q) {
    _mm512_store_si512(strip + q, _mm512_shuffle_i32x4(a[q], b[q], 0x88));
    _mm512_store_si512(strip + 4 + q, _mm512_shuffle_i32x4(a[q], b[q], 0xDD));
  }
}

/// strip[0, ...) = bytes [begin, begin + n_bytes) of the rows, turned round, in whole pieces; `end`
/// is where the rows end.
///
/// Not inlined: the compiler would keep the sixteen pointers in vector registers.
VARVE_TARGET __attribute__((noinline)) inline void load_strip(const uint8_t* const* rows,
                                                              size_t begin, size_t n_bytes,
                                                              size_t end, Ahead& ahead,
                                                              __m512i* strip) {
  for (size_t at = begin; at < begin + n_bytes; at += kPieceBytes, strip += kPieceVectors) {
    ahead.fetch<kLaneRows * kPieceBytes / Ahead::kLineBytes * kLinesInStrips / 4>();
    if (at + kPieceBytes <= end) {
      load_piece<true>(rows, at, 0, strip);
    } else {
      load_piece<false>(rows, at, (__mmask32{1} << (end - at)) - 1, strip);
    }
  }
}

/// Vectors of a strip of n_bytes of every row: whole pieces, and one that bytes_at() may look into.
constexpr size_t strip_vectors(size_t n_bytes) {
  return (n_bytes + kPieceBytes - 1) / kPieceBytes * kPieceVectors + 1;
}

/// The four bytes at `byte` of each row of a strip. kAlign divides `byte`.
template <size_t kAlign>
VARVE_INLINE __m512i bytes_at(const __m512i* strip, size_t byte) {
  const __m512i low = _mm512_load_si512(strip + byte / 4);
  if constexpr (kAlign % 4 == 0) {
    return low;
  } else {
    return _mm512_shrdv_epi32(low, _mm512_load_si512(strip + byte / 4 + 1),
                              _mm512_set1_epi32(static_cast<int>(byte % 4 * 8)));
  }
}

}  // namespace varve
