// Weights as the AVX512-BF16 products read them: a codec a type, each kStep values at a time.
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/kernels.h"
#include "kernels/x86_avx512-inl.h"

// Every processor with AVX512-BF16 has VNNI.
#define VARVE_FEATURES "avx512f,avx512bw,avx512vl,avx512bf16,avx512vnni,avx512vbmi,avx512vbmi2"
#define VARVE_TARGET __attribute__((target(VARVE_FEATURES)))
#define VARVE_INLINE VARVE_TARGET inline __attribute__((always_inline))

namespace varve {

inline constexpr size_t kStep = 32;  // columns of one instruction
inline constexpr size_t kLanes = 16;

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

inline constexpr E2m1Tables kE2m1Tables = make_e2m1_tables();

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

/// The last columns [c, n_cols) of a row as bf16, zeros behind them.
template <class Codec>
VARVE_INLINE __m512i decode_tail(const uint8_t* row, size_t c, size_t n_cols,
                                 const typename Codec::State& state) {
  uint8_t tail[Codec::kStepBytes] = {};
  const size_t bytes = ((n_cols - c) * Codec::kStepBytes + kStep - 1) / kStep;
  std::memcpy(tail, row + c / kStep * Codec::kStepBytes, bytes);
  // An odd count of e2m1 leaves a nibble over; its input is zero.
  return Codec::at(tail, state);
}

/// x[0, n), n < kStep, with zeros behind.
VARVE_INLINE __m512i load_tail(const uint16_t* x, size_t n) {
  return _mm512_maskz_loadu_epi16((__mmask32{1} << n) - 1, x);
}

}  // namespace varve
