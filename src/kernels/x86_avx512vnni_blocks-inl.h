// GGUF's block types (tensor/blocks.h) as the VNNI products read them: by strips.
//
// A shift brings the codes of two neighbouring columns to the bottom of a lane's two words, and a
// look-up makes whole numbers of 16 bits of them.
#pragma once

#include "kernels/x86_avx512bf16_strip-inl.h"
#include "tensor/blocks.h"

namespace varve {

inline constexpr size_t kGroupCols = InputGroup::kSize;
inline constexpr size_t kGroupPairs = kGroupCols / 2;

/// The low halves of the lanes, which are f16, as f32.
VARVE_INLINE __m512 from_f16(__m512i v) {
  return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
}

/// v >> kBits, or << where that is negative; other bits than those asked for may be anything.
template <int kBits>
VARVE_INLINE __m512i shifted(__m512i v) {
  if constexpr (kBits > 0) return _mm512_srli_epi32(v, kBits);
  if constexpr (kBits < 0) return _mm512_slli_epi32(v, -kBits);
  return v;
}

/// The bytes of each lane in the order 0, 2, 1, 3: neighbours in the same place of both words.
VARVE_INLINE __m512i neighbours(__m512i v) {
  return _mm512_shuffle_epi8(v, _mm512_set4_epi32(0x0F0D0E0C, 0x0B090A08, 0x07050604, 0x03010200));
}

/// b where `mask` has bits, a elsewhere.
VARVE_INLINE __m512i merge(__m512i a, __m512i b, int mask) {
  return _mm512_ternarylogic_epi32(a, b, _mm512_set1_epi32(mask), 0xD8);
}

// ---- look-ups

/// Numbers by code; short tables are repeated, so that bits above the code do no harm.
template <size_t kSize>
struct Table {
  alignas(64) int16_t of_code[kSize];
};

template <size_t kSize, class Value>
constexpr Table<kSize> make_table(Value value) {
  Table<kSize> table{};
  for (size_t i = 0; i < kSize; ++i) {
    table.of_code[i] = static_cast<int16_t>(value(static_cast<int>(i)));
  }
  return table;
}

inline constexpr auto kUnsigned4 = make_table<32>([](int i) { return i % 16; });
inline constexpr auto kSigned4 = make_table<32>([](int i) { return i % 16 - 8; });
inline constexpr auto kUnsigned5 = make_table<32>([](int i) { return i; });
inline constexpr auto kSigned5 = make_table<32>([](int i) { return i - 16; });
inline constexpr auto kSigned6 = make_table<64>([](int i) { return i - 32; });
inline constexpr auto kTwiceE2m1 =
    make_table<32>([](int i) { return kTwiceE2m1Values[static_cast<size_t>(i % 16)]; });
inline constexpr auto kIq4Nl =
    make_table<32>([](int i) { return kIq4NlValues[static_cast<size_t>(i % 16)]; });

VARVE_INLINE __m512i look_up(__m512i codes, const Table<32>& table) {
  return _mm512_permutexvar_epi16(codes, _mm512_load_si512(table.of_code));
}
VARVE_INLINE __m512i look_up(__m512i codes, const Table<64>& table) {
  return _mm512_permutex2var_epi16(_mm512_load_si512(table.of_code), codes,
                                   _mm512_load_si512(table.of_code + 32));
}

// ---- codecs
//
//   kBytes, kGroups   of a block
//   kScales           of a group: each belongs to as many neighbouring columns
//   kUnitGroups       groups that are unpacked together, because they share bytes
//   kSteps, kPairs    a unit is unpacked in so many steps, each with so many pairs of every group
//   kHalves           whether half of a step's pairs are of the group's second half
//   Scales            of a block, from its bytes, which begin at byte `at` of the strip
//   Bytes             of one step of one unit
//   pair              one pair of them: `i` counts the pairs of the unit's first group, then those
//   of
//                     the next

/// The scales and minima of a block.
template <int kCount, int kMinima>
struct BlockScales {
  __m512 scales[kCount];
  __m512 minima[kMinima > 0 ? kMinima : 1];
};

/// Four pairs of a group's codes in dword k: columns 4k.. by the low four bits, 16 + 4k.. by the
/// high ones.
template <int kBits, bool kMinimum, const Table<32>& kTable>
struct NibbleLanes {
  static constexpr size_t kFifthAt = kMinimum ? 4 : 2, kCodesAt = kFifthAt + (kBits == 5 ? 4 : 0);
  static constexpr size_t kBytes = kCodesAt + 16;
  static constexpr int kGroups = 1, kScales = 1, kUnitGroups = 1, kSteps = 4, kPairs = 4;
  static constexpr bool kHalves = true, kHasMinimum = kMinimum;
  struct Scales : BlockScales<1, kMinimum ? 1 : 0> {
    VARVE_INLINE Scales(const __m512i* strip, size_t at) {
      const __m512i both = bytes_at<kBytes>(strip, at);
      this->scales[0] = from_f16(both);
      if constexpr (kMinimum) this->minima[0] = from_f16(_mm512_srli_epi32(both, 16));
    }
  };
  struct Bytes {
    __m512i codes, low_fifth, high_fifth;
    template <int k>
    VARVE_INLINE void load(const __m512i* strip, size_t at, int) {
      codes = neighbours(bytes_at<(kBytes | kCodesAt)>(strip, at + kCodesAt + 4 * k));
      if constexpr (kBits == 5) {
        // Bits of columns c in the low word and c + 1 in the high one, at bit c.
        const __m512i fifth = bytes_at<(kBytes | kFifthAt)>(strip, at + kFifthAt);
        const int high = static_cast<int>(0xFFFF0000u);
        low_fifth = merge(fifth, _mm512_slli_epi32(fifth, 15), high);
        high_fifth = merge(_mm512_srli_epi32(fifth, 16), _mm512_srli_epi32(fifth, 1), high);
      }
    }
  };
  template <int k, int i>
  static VARVE_INLINE __m512i pair(const Bytes& bytes) {
    __m512i codes = shifted<i / 2 * 4 + i % 2 * 8>(bytes.codes);
    if constexpr (kBits == 5) {
      const __m512i fifth = i < 2 ? bytes.low_fifth : bytes.high_fifth;
      codes = merge(codes, shifted<4 * k + i % 2 * 2 - 4>(fifth), 0x00100010);
    }
    return look_up(codes, kTable);
  }
};

using Q4_0Lanes = NibbleLanes<4, false, kSigned4>;
using Q4_1Lanes = NibbleLanes<4, true, kUnsigned4>;
using Q5_0Lanes = NibbleLanes<5, false, kSigned5>;
using Q5_1Lanes = NibbleLanes<5, true, kUnsigned5>;
using Iq4NlLanes = NibbleLanes<4, false, kIq4Nl>;

struct Mxfp4Lanes {
  static constexpr size_t kBytes = 17;
  static constexpr int kGroups = 1, kScales = 1, kUnitGroups = 1, kSteps = 4, kPairs = 4;
  static constexpr bool kHalves = true, kHasMinimum = false;
  struct Scales : BlockScales<1, 0> {
    /// f32_from_half_e8m0() of the lowest byte.
    VARVE_INLINE Scales(const __m512i* strip, size_t at) {
      const __m512i exponent = _mm512_and_si512(bytes_at<1>(strip, at), _mm512_set1_epi32(255));
      const __m512i normal =
          _mm512_slli_epi32(_mm512_sub_epi32(exponent, _mm512_set1_epi32(1)), 23);
      const __m512i subnormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), exponent);
      const __mmask16 is_subnormal = _mm512_cmplt_epi32_mask(exponent, _mm512_set1_epi32(2));
      scales[0] = _mm512_castsi512_ps(_mm512_mask_mov_epi32(normal, is_subnormal, subnormal));
    }
  };
  struct Bytes {
    __m512i codes;
    template <int k>
    VARVE_INLINE void load(const __m512i* strip, size_t at, int) {
      codes = neighbours(bytes_at<1>(strip, at + 1 + 4 * k));
    }
  };
  template <int k, int i>
  static VARVE_INLINE __m512i pair(const Bytes& bytes) {
    return look_up(shifted<i / 2 * 4 + i % 2 * 8>(bytes.codes), kTwiceE2m1);
  }
};

struct Q8Lanes {
  static constexpr size_t kBytes = 34;
  static constexpr int kGroups = 1, kScales = 1, kUnitGroups = 1, kSteps = 8, kPairs = 2;
  static constexpr bool kHalves = false, kHasMinimum = false;
  struct Scales : BlockScales<1, 0> {
    VARVE_INLINE Scales(const __m512i* strip, size_t at) {
      scales[0] = from_f16(bytes_at<2>(strip, at));
    }
  };
  struct Bytes {
    __m512i codes;
    template <int k>
    VARVE_INLINE void load(const __m512i* strip, size_t at, int) {
      codes = neighbours(bytes_at<2>(strip, at + 2 + 4 * k));
    }
  };
  /// Either byte of each word, with its sign.
  template <int k, int i>
  static VARVE_INLINE __m512i pair(const Bytes& bytes) {
    return _mm512_srai_epi16(i == 0 ? _mm512_slli_epi16(bytes.codes, 8) : bytes.codes, 8);
  }
};

/// to[0, 4) = the four bytes of each lane, kSigned or not, times `scale`.
template <bool kSigned>
VARVE_INLINE void scale_bytes(__m512i bytes, __m512 scale, __m512* to) {
  const __m512i at_top[4] = {shifted<-24>(bytes), shifted<-16>(bytes), shifted<-8>(bytes), bytes};
  for (int i = 0; i < 4; ++i) {
    const __m512i wide =
        kSigned ? _mm512_srai_epi32(at_top[i], 24) : _mm512_srli_epi32(at_top[i], 24);
    to[i] = _mm512_mul_ps(_mm512_cvtepi32_ps(wide), scale);
  }
}

/// Q4_K, and Q5_K with fifth bits. A unit is the two groups that share bytes.
template <bool kFifth>
struct KLanes {
  static constexpr size_t kPackedAt = 4, kFifthAt = 16, kCodesAt = kFifthAt + (kFifth ? 32 : 0);
  static constexpr size_t kBytes = kCodesAt + 128;
  static constexpr int kGroups = 8, kScales = 1, kUnitGroups = 2, kSteps = 8, kPairs = 2;
  static constexpr bool kHalves = false, kHasMinimum = true;
  struct Scales : BlockScales<kGroups, kGroups> {
    VARVE_INLINE Scales(const __m512i* strip, size_t at) {
      const __m512i both = bytes_at<4>(strip, at);
      const __m512 scale = from_f16(both);
      const __m512 minimum =
          _mm512_sub_ps(_mm512_setzero_ps(), from_f16(_mm512_srli_epi32(both, 16)));
      // Six bits each, four groups at a time (docs/formats/blocks.md).
      const __m512i p0 = bytes_at<4>(strip, at + kPackedAt);
      const __m512i p1 = bytes_at<4>(strip, at + kPackedAt + 4);
      const __m512i p2 = bytes_at<4>(strip, at + kPackedAt + 8);
      const __m512i six = _mm512_set1_epi32(0x3F3F3F3F);
      scale_bytes<false>(_mm512_and_si512(p0, six), scale, scales);
      scale_bytes<false>(_mm512_and_si512(p1, six), minimum, minima);
      const int low = 0x0F0F0F0F;
      scale_bytes<false>(_mm512_and_si512(merge(shifted<2>(p0), p2, low), six), scale, scales + 4);
      scale_bytes<false>(_mm512_and_si512(merge(shifted<2>(p1), shifted<4>(p2), low), six), minimum,
                         minima + 4);
    }
  };
  struct Bytes {
    __m512i codes, fifth;
    template <int k>
    VARVE_INLINE void load(const __m512i* strip, size_t at, int unit) {
      codes =
          neighbours(bytes_at<4>(strip, at + kCodesAt + static_cast<size_t>(unit) * 32 + 4 * k));
      if constexpr (kFifth) {  // those of the even group to bit 4 of their bytes
        fifth = _mm512_rorv_epi32(neighbours(bytes_at<4>(strip, at + kFifthAt + 4 * k)),
                                  _mm512_set1_epi32((2 * unit + 28) % 32));
      }
    }
  };
  template <int k, int i>
  static VARVE_INLINE __m512i pair(const Bytes& bytes) {
    __m512i codes = shifted<i / 2 * 4 + i % 2 * 8>(bytes.codes);
    if constexpr (!kFifth) return look_up(codes, kUnsigned4);
    return look_up(merge(codes, shifted<i / 2 + i % 2 * 8>(bytes.fifth), 0x00100010), kUnsigned5);
  }
};

/// A unit is half a block.
struct Q6KLanes {
  static constexpr size_t kHighAt = 128, kScalesAt = 192, kScaleAt = 208, kBytes = 210;
  static constexpr int kGroups = 8, kScales = 2, kUnitGroups = 4, kSteps = 8, kPairs = 2;
  static constexpr bool kHalves = false, kHasMinimum = false;
  struct Scales : BlockScales<2 * kGroups, 0> {
    VARVE_INLINE Scales(const __m512i* strip, size_t at) {
      const __m512 scale = from_f16(bytes_at<2>(strip, at + kScaleAt));
      for (size_t i = 0; i < 16; i += 4) {
        scale_bytes<true>(bytes_at<2>(strip, at + kScalesAt + i), scale, scales + i);
      }
    }
  };
  struct Bytes {
    __m512i low[2], high;  // of the even and odd groups; of all
    template <int k>
    VARVE_INLINE void load(const __m512i* strip, size_t at, int unit) {
      const auto half = static_cast<size_t>(unit);
      low[0] = neighbours(bytes_at<2>(strip, at + half * 64 + 4 * k));
      low[1] = neighbours(bytes_at<2>(strip, at + half * 64 + 32 + 4 * k));
      high = neighbours(bytes_at<2>(strip, at + kHighAt + half * 32 + 4 * k));
    }
  };
  template <int k, int i>
  static VARVE_INLINE __m512i pair(const Bytes& bytes) {
    constexpr int g = i / 2, byte = i % 2 * 8;
    return look_up(merge(shifted<g / 2 * 4 + byte>(bytes.low[g % 2]),
                         shifted<2 * g - 4 + byte>(bytes.high), 0x00300030),
                   kSigned6);
  }
};

// ---- inputs

VARVE_INLINE __m512i broadcast_pair(const int16_t* x) {
  int both;
  std::memcpy(&both, x, sizeof both);
  return _mm512_set1_epi32(both);
}

/// The first of the two columns of a group that pair p of step k takes.
template <bool kHalves>
constexpr size_t column_of(size_t k, size_t p) {
  return kHalves ? 4 * k + 16 * (p / 2) + 2 * (p % 2) : 4 * k + 2 * p;
}

/// sum += products of 16 lanes of pairs.
VARVE_INLINE __m512i dot_whole(__m512i sum, __m512i w, __m512i x) {
  return _mm512_dpwssd_epi32(sum, w, x);
}

/// sum + dots * (scale of the weights * scale of the inputs)
VARVE_INLINE __m512 add_scaled(__m512 sum, __m512i dots, __m512 scales, __m512 scale) {
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots), _mm512_mul_ps(scales, scale), sum);
}

/// Bytes of so many columns of a row.
template <class Codec>
constexpr size_t bytes_of(size_t n_cols) {
  return n_cols / (kGroupCols * Codec::kGroups) * Codec::kBytes;
}

/// Function<Codec>::run(args...) with the codec of a block type.
template <template <class> class Function, class... Args>
void with_lanes(DType type, const Args&... args) {
  switch (type) {
    case DType::q8_0:
      return Function<Q8Lanes>::run(args...);
    case DType::q4_0:
      return Function<Q4_0Lanes>::run(args...);
    case DType::q4_1:
      return Function<Q4_1Lanes>::run(args...);
    case DType::q5_0:
      return Function<Q5_0Lanes>::run(args...);
    case DType::q5_1:
      return Function<Q5_1Lanes>::run(args...);
    case DType::q4_k:
      return Function<KLanes<false>>::run(args...);
    case DType::q5_k:
      return Function<KLanes<true>>::run(args...);
    case DType::q6_k:
      return Function<Q6KLanes>::run(args...);
    case DType::mxfp4:
      return Function<Mxfp4Lanes>::run(args...);
    default:
      return Function<Iq4NlLanes>::run(args...);
  }
}

}  // namespace varve
