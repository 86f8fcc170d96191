// GGUF's block types to f32 vectors, exactly as decode_block (tensor/blocks.h) defines them, except
// where a block's f16 scale is no finite number.

#if defined(VARVE_SIMD_BLOCKS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef VARVE_SIMD_BLOCKS_INL_H
#undef VARVE_SIMD_BLOCKS_INL_H
#else
#define VARVE_SIMD_BLOCKS_INL_H
#endif

#include <type_traits>

#include "kernels/simd_vector-inl.h"
#include "tensor/blocks.h"
#include "tensor/weight.h"

HWY_BEFORE_NAMESPACE();
namespace varve {
namespace HWY_NAMESPACE {

using DCodes = hn::FixedTag<int8_t, kLanes>;
using DBytes = hn::FixedTag<uint8_t, kLanes>;
using VCodes = hn::Vec<DCodes>;
using VBytes = hn::Vec<DBytes>;

constexpr size_t kGroupCols = 32;  // that share a scale, but for Q6_K

// A block codec takes blocks apart in groups of 32 values, and these in halves of kLanes.
//   kBytes, kGroups  of a block
//   kHasMinimum      value = code * scale + minimum, or code * scale
//   State            the scales and minima of one block as f32
//   ready            makes them from the block
//   codes            of one half of one group
//   scale, minimum   of one half of one group; minimum only with kHasMinimum

/// The kLanes bytes at p.
HWY_INLINE VBytes load_bytes(const uint8_t* p) {
  return hn::LoadU(DBytes(), p);
}

/// The low or the high four bits of the kLanes bytes at p.
HWY_INLINE VBytes nibbles(const uint8_t* p, bool high) {
  const VBytes bytes = load_bytes(p);
  return high ? hn::ShiftRight<4>(bytes) : hn::And(bytes, hn::Set(DBytes(), 15));
}

/// 16 where the bits of the two bytes at p are set.
HWY_INLINE VBytes fifth_bits(const uint8_t* p) {
  alignas(16) static constexpr uint8_t kByte[kLanes] = {0, 0, 0, 0, 0, 0, 0, 0,
                                                        1, 1, 1, 1, 1, 1, 1, 1};
  alignas(16) static constexpr uint8_t kBit[kLanes] = {1, 2, 4, 8, 16, 32, 64, 128,
                                                       1, 2, 4, 8, 16, 32, 64, 128};
  uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  const VBytes both = hn::BitCast(DBytes(), hn::Set(hn::Repartition<uint16_t, DBytes>(), bits));
  const VBytes bit = hn::Load(DBytes(), kBit);
  const VBytes spread = hn::TableLookupBytes(both, hn::Load(DBytes(), kByte));
  return hn::IfThenElseZero(hn::Eq(hn::And(spread, bit), bit), hn::Set(DBytes(), 16));
}

/// codes - middle, as signed numbers.
HWY_INLINE VCodes from_middle(VBytes codes, int8_t middle) {
  return hn::Sub(hn::BitCast(DCodes(), codes), hn::Set(DCodes(), middle));
}

/// One f16 number at p, or two, as f32; infinity and NaN may become other numbers.
/// Bits: uint16_t or uint32_t.
template <class Bits>
HWY_INLINE void load_f16(const uint8_t* p, float* to) {
  const hn::FixedTag<float, 4> df;
  const hn::Rebind<hwy::float16_t, decltype(df)> dh;
  const hn::Rebind<uint16_t, decltype(df)> d16;
  Bits bits;
  std::memcpy(&bits, p, sizeof bits);
  const auto halves = hn::BitCast(d16, hn::Set(hn::FixedTag<uint64_t, 1>(), uint64_t{bits}));
  hn::StoreU(hn::PromoteTo(df, hn::BitCast(dh, halves)), df, to);
}

/// Codes of the kBits low bits, counted from `kMiddle` where there is no minimum.
template <int kBits, bool kMinimum>
struct BlockNibbles {
  static constexpr size_t kFifthAt = kMinimum ? 4 : 2, kCodesAt = kFifthAt + (kBits == 5 ? 4 : 0);
  static constexpr size_t kBytes = kCodesAt + kLanes, kGroups = 1;
  static constexpr bool kHasMinimum = kMinimum;
  struct State {
    float values[4];  // scale, minimum
  };
  static HWY_INLINE void ready(const uint8_t* block, State& state) {
    load_f16<std::conditional_t<kMinimum, uint32_t, uint16_t>>(block, state.values);
  }
  static HWY_INLINE VCodes codes(const uint8_t* block, size_t, size_t half) {
    VBytes codes = nibbles(block + kCodesAt, half != 0);
    if (kBits == 5) codes = hn::Or(codes, fifth_bits(block + kFifthAt + 2 * half));
    if (kMinimum) return hn::BitCast(DCodes(), codes);
    return from_middle(codes, 1 << (kBits - 1));
  }
  static HWY_INLINE VF scale(const State& s, size_t, size_t) { return set(s.values[0]); }
  static HWY_INLINE VF minimum(const State& s, size_t, size_t) { return set(s.values[1]); }
};

struct BlockQ8 {
  static constexpr size_t kBytes = 34, kGroups = 1;
  static constexpr bool kHasMinimum = false;
  struct State {
    float values[4];
  };
  static HWY_INLINE void ready(const uint8_t* block, State& state) {
    load_f16<uint16_t>(block, state.values);
  }
  static HWY_INLINE VCodes codes(const uint8_t* block, size_t, size_t half) {
    return hn::BitCast(DCodes(), load_bytes(block + 2 + half * kLanes));
  }
  static HWY_INLINE VF scale(const State& s, size_t, size_t) { return set(s.values[0]); }
  static HWY_INLINE VF minimum(const State&, size_t, size_t) { return zero(); }
};

/// Codes that are looked up: MXFP4 with its e8m0 scale, IQ4_NL with an f16 one.
template <bool kMxfp4>
struct BlockTable {
  static constexpr size_t kScaleBytes = kMxfp4 ? 1 : 2;
  static constexpr size_t kBytes = kScaleBytes + kLanes, kGroups = 1;
  static constexpr bool kHasMinimum = false;
  struct State {
    float values[4];
  };
  static HWY_INLINE void ready(const uint8_t* block, State& state) {
    if (kMxfp4) {
      state.values[0] = f32_from_half_e8m0(block[0]);
    } else {
      load_f16<uint16_t>(block, state.values);
    }
  }
  static HWY_INLINE VCodes codes(const uint8_t* block, size_t, size_t half) {
    const VCodes table =
        hn::LoadU(DCodes(), kMxfp4 ? kTwiceE2m1Values.data() : kIq4NlValues.data());
    return hn::TableLookupBytes(table,
                                hn::BitCast(DCodes(), nibbles(block + kScaleBytes, half != 0)));
  }
  static HWY_INLINE VF scale(const State& s, size_t, size_t) { return set(s.values[0]); }
  static HWY_INLINE VF minimum(const State&, size_t, size_t) { return zero(); }
};

/// to[0, 4 * kFours) = from[0, ...) times scale.
template <size_t kFours, class T>
HWY_INLINE void scale_bytes(const T* from, float scale, float* to) {
  const hn::FixedTag<float, 4> df;
  const hn::RebindToSigned<decltype(df)> di;
  const hn::Rebind<T, decltype(df)> d8;
  for (size_t i = 0; i < 4 * kFours; i += 4) {
    const auto wide = hn::ConvertTo(df, hn::PromoteTo(di, hn::LoadU(d8, from + i)));
    hn::StoreU(hn::Mul(wide, hn::Set(df, scale)), df, to + i);
  }
}

/// Q4_K, and Q5_K with fifth bits.
template <bool kFifth>
struct BlockK {
  static constexpr size_t kPackedAt = 4, kFifthAt = 16, kCodesAt = kFifthAt + (kFifth ? 32 : 0);
  static constexpr size_t kBytes = kCodesAt + 128, kGroups = 8;
  static constexpr bool kHasMinimum = true;
  struct State {
    float scales[kGroups], minima[kGroups];
  };
  static HWY_INLINE void ready(const uint8_t* block, State& state) {
    float values[4];
    load_f16<uint32_t>(block, values);
    // Six bits each, four groups at a time (docs/formats/blocks.md).
    uint32_t packed[3], scales[2], minima[2];
    std::memcpy(packed, block + kPackedAt, sizeof packed);
    scales[0] = packed[0] & 0x3F3F3F3Fu;
    minima[0] = packed[1] & 0x3F3F3F3Fu;
    scales[1] = (packed[2] & 0x0F0F0F0Fu) | (packed[0] >> 2 & 0x30303030u);
    minima[1] = (packed[2] >> 4 & 0x0F0F0F0Fu) | (packed[1] >> 2 & 0x30303030u);
    scale_bytes<2>(reinterpret_cast<const uint8_t*>(scales), values[0], state.scales);
    scale_bytes<2>(reinterpret_cast<const uint8_t*>(minima), -values[1], state.minima);
  }
  static HWY_INLINE VCodes codes(const uint8_t* block, size_t group, size_t half) {
    const uint8_t* const bytes = block + kCodesAt + group / 2 * kGroupCols + half * kLanes;
    VBytes codes = nibbles(bytes, group % 2 != 0);
    if (kFifth) {
      const VBytes bit = hn::Set(DBytes(), static_cast<uint8_t>(1u << group));
      const VBytes bits = hn::And(load_bytes(block + kFifthAt + half * kLanes), bit);
      codes = hn::Or(codes, hn::IfThenElseZero(hn::Eq(bits, bit), hn::Set(DBytes(), 16)));
    }
    return hn::BitCast(DCodes(), codes);
  }
  static HWY_INLINE VF scale(const State& s, size_t group, size_t) { return set(s.scales[group]); }
  static HWY_INLINE VF minimum(const State& s, size_t group, size_t) {
    return set(s.minima[group]);
  }
};

struct BlockQ6K {
  static constexpr size_t kHighAt = 128, kScalesAt = 192, kScaleAt = 208;
  static constexpr size_t kBytes = 210, kGroups = 8;
  static constexpr bool kHasMinimum = false;
  struct State {
    float scales[2 * kGroups];  // of the halves
  };
  static HWY_INLINE void ready(const uint8_t* block, State& state) {
    float values[4];
    load_f16<uint16_t>(block + kScaleAt, values);
    scale_bytes<4>(reinterpret_cast<const int8_t*>(block + kScalesAt), values[0], state.scales);
  }
  static HWY_INLINE VCodes codes(const uint8_t* block, size_t group, size_t half) {
    const size_t of_128 = group / 4, quarter = group % 4;
    const VBytes low =
        nibbles(block + of_128 * 64 + quarter % 2 * kGroupCols + half * kLanes, quarter >= 2);
    const VBytes bytes = load_bytes(block + kHighAt + of_128 * kGroupCols + half * kLanes);
    const VBytes mask = hn::Set(DBytes(), 0x30);
    const VBytes high = quarter == 0   ? hn::And(hn::ShiftLeft<4>(bytes), mask)
                        : quarter == 1 ? hn::And(hn::ShiftLeft<2>(bytes), mask)
                        : quarter == 2 ? hn::And(bytes, mask)
                                       : hn::And(hn::ShiftRight<2>(bytes), mask);
    return from_middle(hn::Or(low, high), 32);
  }
  static HWY_INLINE VF scale(const State& s, size_t group, size_t half) {
    return set(s.scales[2 * group + half]);
  }
  static HWY_INLINE VF minimum(const State&, size_t, size_t) { return zero(); }
};

/// to[0, kParts) = kLanes codes as f32.
HWY_INLINE void widen(VCodes codes, VF* to) {
  const DF df;
  const hn::RebindToSigned<DF> di;
#if HWY_MAX_BYTES >= 64
  to[0] = hn::ConvertTo(df, hn::PromoteTo(di, codes));
#elif HWY_MAX_BYTES >= 32
  const hn::Half<DCodes> d8;
  to[0] = hn::ConvertTo(df, hn::PromoteTo(di, hn::LowerHalf(d8, codes)));
  to[1] = hn::ConvertTo(df, hn::PromoteTo(di, hn::UpperHalf(d8, codes)));
#else
  const hn::Half<DCodes> d8;
  const hn::RepartitionToWide<DCodes> d16;
  const hn::Half<decltype(d16)> d16_half;
  const auto low = hn::PromoteTo(d16, hn::LowerHalf(d8, codes));
  const auto high = hn::PromoteTo(d16, hn::UpperHalf(d8, codes));
  to[0] = hn::ConvertTo(df, hn::PromoteTo(di, hn::LowerHalf(d16_half, low)));
  to[1] = hn::ConvertTo(df, hn::PromoteTo(di, hn::UpperHalf(d16_half, low)));
  to[2] = hn::ConvertTo(df, hn::PromoteTo(di, hn::LowerHalf(d16_half, high)));
  to[3] = hn::ConvertTo(df, hn::PromoteTo(di, hn::UpperHalf(d16_half, high)));
#endif
}

/// to[0, kParts) = one half of one group. A fused addition is exact where the product is.
template <class Codec>
HWY_INLINE void decode_half(const uint8_t* block, const typename Codec::State& state, size_t group,
                            size_t half, VF* to) {
  widen(Codec::codes(block, group, half), to);
  const VF scale = Codec::scale(state, group, half);
  for (size_t part = 0; part < kParts; ++part) {
    if constexpr (Codec::kHasMinimum) {
      to[part] = hn::MulAdd(to[part], scale, Codec::minimum(state, group, half));
    } else {
      to[part] = hn::Mul(to[part], scale);
    }
  }
}

/// body(codec) with the codec of a block type.
template <class Body>
HWY_INLINE void with_block_codec(DType type, const Body& body) {
  switch (type) {
    case DType::q8_0:
      return body(BlockQ8());
    case DType::q4_0:
      return body(BlockNibbles<4, false>());
    case DType::q4_1:
      return body(BlockNibbles<4, true>());
    case DType::q5_0:
      return body(BlockNibbles<5, false>());
    case DType::q5_1:
      return body(BlockNibbles<5, true>());
    case DType::q4_k:
      return body(BlockK<false>());
    case DType::q5_k:
      return body(BlockK<true>());
    case DType::q6_k:
      return body(BlockQ6K());
    case DType::mxfp4:
      return body(BlockTable<true>());
    case DType::iq4_nl:
      return body(BlockTable<false>());
    default:
      return;
  }
}

/// out[0, ...) = values [begin, end) of a row of blocks; both are multiples of a block's values.
template <class Codec>
HWY_NOINLINE void decode_blocks(const uint8_t* row, size_t begin, size_t end, float* out) {
  constexpr size_t kValues = Codec::kGroups * kGroupCols;
  for (size_t b = begin / kValues; b < end / kValues; ++b) {
    const uint8_t* const block = row + b * Codec::kBytes;
    typename Codec::State state;
    Codec::ready(block, state);
    for (size_t half = 0; half < 2 * Codec::kGroups; ++half, out += kLanes) {
      VF values[kParts];
      decode_half<Codec>(block, state, half / 2, half % 2, values);
      for (size_t part = 0; part < kParts; ++part) store(values[part], out + part * kN);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace varve
HWY_AFTER_NAMESPACE();

#endif  // VARVE_SIMD_BLOCKS_INL_H
