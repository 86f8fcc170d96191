// What the AVX-512 files share. Include it after nothing that needs other diagnostics: it turns two
// false ones off for the file.
//
// The features are asked for function by function, not by compiler options for the file: inline
// functions of shared headers that these files use too must stay fit for every machine.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

// GCC 12 takes the undefined operands inside its own intrinsics for ours.
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#define VARVE_AVX512_INLINE                                              \
  __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi"))) inline \
      __attribute__((always_inline))

namespace varve {

// What a block's e8m0 scale adds to the bits of a bf16 number: its exponent, in place.
VARVE_AVX512_INLINE int16_t exponent_of(uint8_t scale) {
  return static_cast<int16_t>((scale - 127) * 128);
}
// Scales that keep every e4m3 and e2m1 value a normal bf16 number.
inline constexpr uint8_t kLeastScale = 10, kMostScale = 245;

/// Whether all of n scales at p do that.
VARVE_AVX512_INLINE bool scales_fit(const uint8_t* p, size_t n) {
  __mmask64 outside = 0;
  for (size_t i = 0; i < n; i += 64) {
    const __mmask64 some = n - i >= 64 ? ~__mmask64{0} : (__mmask64{1} << (n - i)) - 1;
    const __m512i bytes = _mm512_maskz_loadu_epi8(some, p + i);
    outside |=
        _mm512_mask_cmplt_epu8_mask(some, bytes, _mm512_set1_epi8(kLeastScale)) |
        _mm512_mask_cmpgt_epu8_mask(some, bytes, _mm512_set1_epi8(static_cast<char>(kMostScale)));
  }
  return outside == 0;
}

/// e4m3 to bf16 under one scale. The NaN codes read as +-480.
struct E4m3State {
  __m512i bias;        // of normal numbers: 120 + the scale's exponent, in place
  __m512i subnormals;  // by mantissa
};

VARVE_AVX512_INLINE E4m3State e4m3_state(int16_t scale_exponent) {
  // m 2^-9 as bf16, m in 0..7
  const __m512i table = _mm512_zextsi128_si512(
      _mm_setr_epi16(0, 0x3B00, 0x3B80, 0x3BC0, 0x3C00, 0x3C20, 0x3C40, 0x3C60));
  const __m512i exponent = _mm512_set1_epi16(scale_exponent);
  return {_mm512_add_epi16(exponent, _mm512_set1_epi16(120 << 7)),
          _mm512_mask_add_epi16(table, 0xFE, table, exponent)};
}

/// codes: 32 of them, in 16-bit lanes.
VARVE_AVX512_INLINE __m512i bf16_from_e4m3(__m512i codes, const E4m3State& state) {
  const __m512i magnitude = _mm512_and_si512(_mm512_slli_epi16(codes, 4), _mm512_set1_epi16(0x7F0));
  const __mmask32 subnormal = _mm512_testn_epi16_mask(codes, _mm512_set1_epi16(0x78));
  // The lookup takes five bits, which are the mantissa where the exponent is 0.
  const __m512i value = _mm512_mask_permutexvar_epi16(_mm512_add_epi16(magnitude, state.bias),
                                                      subnormal, codes, state.subnormals);
  const __m512i sign = _mm512_slli_epi16(codes, 8);
  // value | (sign & 0x8000)
  return _mm512_ternarylogic_epi32(value, sign, _mm512_set1_epi16(static_cast<short>(0x8000)),
                                   0xF8);
}

/// Turns a 16 x 16 matrix of 32-bit values.
VARVE_AVX512_INLINE void transpose(__m512i* r) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xDD);
    t[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xDD);
  }
  for (int i = 0; i < 8; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
    r[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xDD);
  }
}

}  // namespace varve
