// The indexer's scores over native keys, equal to the reference in every bit.
//
// As in simd_index-inl.h keys lie across the lanes: a tile of keys is unpacked to bytes once, four
// dimensions of a key to a lane of 32 bits, and meets all heads. Dots of bytes are exact in 16
// bits; the floats are those of the contract (kernels.h), each lane by itself.

#if defined(VARVE_SIMD_INDEX_NATIVE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef VARVE_SIMD_INDEX_NATIVE_INL_H
#undef VARVE_SIMD_INDEX_NATIVE_INL_H
#else
#define VARVE_SIMD_INDEX_NATIVE_INL_H
#endif

#include "kernels/simd_vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace varve {
namespace HWY_NAMESPACE {

using DU8 = hn::Repartition<uint8_t, DF>;
using DI16 = hn::Repartition<int16_t, DF>;
using DI32 = hn::RebindToSigned<DF>;
using DU32 = hn::RebindToUnsigned<DF>;
using VU8 = hn::Vec<DU8>;
using VI16 = hn::Vec<DI16>;
using VI32 = hn::Vec<DI32>;

// Vectors of keys times heads that are summed side by side.
constexpr size_t kNativeVectors = 2;
constexpr int kNativeHeads = 4;
constexpr size_t kNativeKeys = kNativeVectors * kN;  // of a tile
constexpr size_t kMaxIndexGroups = kMaxHeadDim / kE2m1Group;
constexpr size_t kGroupQuads = kE2m1Group / 4;
constexpr size_t kGroupCodeBytes = kE2m1Group / 2;

// Keys, -12 to 12, become unsigned by this. What it adds to a group's dot, itself times the sum of
// the query's codes, is taken off the dot.
constexpr int kKeyOffset = 12;

struct NativeTile {
  alignas(64) uint8_t codes[kMaxIndexGroups * kGroupQuads][kNativeKeys][4];  // [quad][key][dim % 4]
  alignas(64) float scales[kMaxIndexGroups * kNativeKeys];                   // [group][key]
};

/// Word j of 16 bytes of kN keys, `at` bytes behind their pointers: words[j] has a key a lane.
HWY_INLINE void load_key_words(const uint8_t* const* keys, size_t at, VF* words) {
  const hn::FixedTag<uint8_t, 16> d16;
  VF k[4];  // block b of k[i] is key 4b + i
  for (size_t i = 0; i < 4; ++i) {
#if HWY_MAX_BYTES >= 64
    const hn::FixedTag<uint8_t, 32> d32;
    const hn::FixedTag<uint8_t, 64> d64;
    const auto low =
        hn::Combine(d32, hn::LoadU(d16, keys[4 + i] + at), hn::LoadU(d16, keys[i] + at));
    const auto high =
        hn::Combine(d32, hn::LoadU(d16, keys[12 + i] + at), hn::LoadU(d16, keys[8 + i] + at));
    k[i] = hn::BitCast(DF(), hn::Combine(d64, high, low));
#elif HWY_MAX_BYTES >= 32
    const hn::FixedTag<uint8_t, 32> d32;
    k[i] = hn::BitCast(
        DF(), hn::Combine(d32, hn::LoadU(d16, keys[4 + i] + at), hn::LoadU(d16, keys[i] + at)));
#else
    k[i] = hn::BitCast(DF(), hn::LoadU(d16, keys[i] + at));
#endif
  }
  turn_blocks(k, words);
}

/// Twice the e2m1 values, plus kKeyOffset, of the first (kUpper: the last) four of the eight codes
/// in each word.
template <bool kUpper>
HWY_INLINE VU8 unpack_codes(VF words) {
  const DU8 d8;
  const hn::Repartition<uint16_t, DF> d16;
  constexpr uint8_t k = kUpper ? 2 : 0;
  alignas(16) static constexpr uint8_t kTwice[16] = {k,      k,      1 + k,  1 + k, 4 + k, 4 + k,
                                                     5 + k,  5 + k,  8 + k,  8 + k, 9 + k, 9 + k,
                                                     12 + k, 12 + k, 13 + k, 13 + k};
  alignas(16) static constexpr uint8_t kValues[16] = {12, 13, 14, 15, 16, 18, 20, 24,
                                                      12, 11, 10, 9,  8,  6,  4,  0};
  const auto both =
      hn::BitCast(d16, hn::TableLookupBytes(hn::BitCast(d8, words), hn::LoadDup128(d8, kTwice)));
  const auto nibbles = hn::Or(hn::And(both, hn::Set(d16, 0x000F)),
                              hn::And(hn::ShiftRight<4>(both), hn::Set(d16, 0x0F00)));
  return hn::TableLookupBytes(hn::LoadDup128(d8, kValues), hn::BitCast(d8, nibbles));
}

/// Unpacks kN keys, vector v of the tile.
HWY_INLINE void unpack_keys(const uint8_t* const* keys, size_t n_bytes, size_t v,
                            NativeTile& tile) {
  for (size_t at = 0; at < n_bytes; at += kGroupCodeBytes) {
    VF words[4];
    const size_t left = n_bytes - at;
    if (left >= kGroupCodeBytes) {
      load_key_words(keys, at, words);
    } else {  // whatever is behind the last dimension meets zeros of the query
      uint8_t some[kN][kGroupCodeBytes] = {};
      const uint8_t* rows[kN];
      for (size_t k = 0; k < kN; ++k) {
        rows[k] = some[k];
        std::memcpy(some[k], keys[k] + at, left);
      }
      load_key_words(rows, 0, words);
    }
    auto* const to = tile.codes + at / kGroupCodeBytes * kGroupQuads;
    for (size_t j = 0; j < 4; ++j) {
      hn::StoreU(unpack_codes<false>(words[j]), DU8(), to[2 * j][v * kN]);
      hn::StoreU(unpack_codes<true>(words[j]), DU8(), to[2 * j + 1][v * kN]);
    }
  }
}

/// The tile's scales, as f32_from_e8m0.
HWY_INLINE void unpack_scales(const uint8_t* const* keys, size_t at, size_t n_groups,
                              NativeTile& tile) {
  alignas(64) uint32_t bytes[kMaxIndexGroups * kNativeKeys];
  for (size_t k = 0; k < kNativeKeys; ++k) {
    for (size_t g = 0; g < n_groups; ++g) bytes[g * kNativeKeys + k] = keys[k][at + g];
  }
  const DU32 du;
  for (size_t i = 0; i < n_groups * kNativeKeys; i += kN) {
    const auto byte = hn::Load(du, bytes + i);
    auto bits = hn::ShiftLeft<23>(byte);
    bits = hn::IfThenElse(hn::Eq(byte, hn::Zero(du)), hn::Set(du, 0x00400000), bits);
    bits = hn::IfThenElse(hn::Eq(byte, hn::Set(du, 255)), hn::Set(du, 0x7FC00000), bits);
    store(hn::BitCast(DF(), bits), tile.scales + i);
  }
}

/// Sums of a[2i] * b[2i] and a[2i + 1] * b[2i + 1], a unsigned and b signed; no sum of two reaches
/// beyond 16 bits.
HWY_INLINE VI16 dot_pairs(VU8 a, VU8 b) {
#if HWY_ARCH_X86 && HWY_MAX_BYTES >= 64
  return VI16{_mm512_maddubs_epi16(a.raw, b.raw)};
#elif HWY_ARCH_X86 && HWY_MAX_BYTES >= 32
  return VI16{_mm256_maddubs_epi16(a.raw, b.raw)};
#elif HWY_TARGET == HWY_SSE4
  return VI16{_mm_maddubs_epi16(a.raw, b.raw)};
#else
  const DI16 d;
  const auto a16 = hn::BitCast(d, a), b16 = hn::BitCast(d, b);
  const VI16 even =
      hn::Mul(hn::And(a16, hn::Set(d, 255)), hn::ShiftRight<8>(hn::ShiftLeft<8>(b16)));
  return hn::Add(even, hn::Mul(hn::ShiftRight<8>(a16), hn::ShiftRight<8>(b16)));
#endif
}

/// Sums of v[2i] and v[2i + 1].
HWY_INLINE VI32 add_pairs(VI16 v) {
#if HWY_ARCH_X86 && HWY_MAX_BYTES >= 64
  return VI32{_mm512_madd_epi16(v.raw, hn::Set(DI16(), 1).raw)};
#elif HWY_ARCH_X86 && HWY_MAX_BYTES >= 32
  return VI32{_mm256_madd_epi16(v.raw, hn::Set(DI16(), 1).raw)};
#elif HWY_TARGET == HWY_SSE4
  return VI32{_mm_madd_epi16(v.raw, hn::Set(DI16(), 1).raw)};
#else
  const auto v32 = hn::BitCast(DI32(), v);
  return hn::Add(hn::ShiftRight<16>(v32), hn::ShiftRight<16>(hn::ShiftLeft<16>(v32)));
#endif
}

/// Adds H heads to the tile's scores.
template <int H>
HWY_NOINLINE void score_native_heads(const IndexScoresNativeArgs& a, int first_head,
                                     const NativeTile& tile, float* scores) {
  const auto n_groups = static_cast<size_t>(index_groups(a.dim));
  const size_t padded = n_groups * kE2m1Group;
  const auto first = static_cast<size_t>(first_head);
  const int8_t* const q = a.q + first * padded;
  const float* const q_scales = a.q_scales + first * n_groups;
  const int32_t* const q_sums = a.q_sums + first * n_groups;
  VF s[H][kNativeVectors];
  for (size_t h = 0; h < H; ++h) {
    for (size_t v = 0; v < kNativeVectors; ++v) s[h][v] = zero();
  }
  for (size_t g = 0; g < n_groups; ++g) {
    VI16 sum[H][kNativeVectors];
    for (size_t h = 0; h < H; ++h) {
      for (size_t v = 0; v < kNativeVectors; ++v) sum[h][v] = hn::Zero(DI16());
    }
    for (size_t j = g * kGroupQuads; j < (g + 1) * kGroupQuads; ++j) {
      VU8 codes[kNativeVectors];
      for (size_t v = 0; v < kNativeVectors; ++v) {
        codes[v] = hn::LoadU(DU8(), tile.codes[j][v * kN]);
      }
      for (size_t h = 0; h < H; ++h) {
        uint32_t quad;
        std::memcpy(&quad, q + h * padded + 4 * j, sizeof quad);
        const VU8 value = hn::BitCast(DU8(), hn::Set(DU32(), quad));
        for (size_t v = 0; v < kNativeVectors; ++v) {
          sum[h][v] = hn::Add(sum[h][v], dot_pairs(codes[v], value));
        }
      }
    }
    for (size_t v = 0; v < kNativeVectors; ++v) {
      const VF scale = load(tile.scales + g * kNativeKeys + v * kN);
      for (size_t h = 0; h < H; ++h) {
        const VI32 offset = hn::Set(DI32(), kKeyOffset * q_sums[h * n_groups + g]);
        const VF dot = hn::ConvertTo(DF(), hn::Sub(add_pairs(sum[h][v]), offset));
        const VF both = hn::Mul(set(q_scales[h * n_groups + g]), scale);
        s[h][v] = hn::Add(s[h][v], hn::Mul(dot, both));
      }
    }
  }
  for (size_t v = 0; v < kNativeVectors; ++v) {
    VF score = load(scores + v * kN);
    for (size_t h = 0; h < H; ++h) {
      // A NaN counts as 0, as in std::max(0, s).
      const VF positive = hn::IfThenElseZero(hn::Gt(s[h][v], zero()), s[h][v]);
      score = hn::Add(score, hn::Mul(set(a.weights[first + h]), positive));
    }
    store(score, scores + v * kN);
  }
}
// A lane of 16 bits takes kGroupQuads sums of two products.
static_assert(kGroupQuads * 2 * (2 * kKeyOffset) * 12 <= 32767);

HWY_NOINLINE HWY_MAYBE_UNUSED void index_scores_native(const IndexScoresNativeArgs& a) {
  const size_t stride = row_bytes(RowFormat::native, {a.dim, 0, true});
  const auto n_groups = static_cast<size_t>(index_groups(a.dim));
  const size_t n_bytes = stride - n_groups;  // of codes
  const auto* const stored = reinterpret_cast<const uint8_t*>(a.keys);
  constexpr int kKeys = static_cast<int>(kNativeKeys);
  NativeTile tile;  // what is not needed of it stays as it is
  for (int w = 0; w < a.n_keys; w += kKeys) {
    const int n_keys = HWY_MIN(kKeys, a.n_keys - w);
    const uint8_t* keys[kNativeKeys];
    for (int k = 0; k < kKeys; ++k) {  // the last key stands in for those behind it
      keys[k] = stored + static_cast<size_t>(w + HWY_MIN(k, n_keys - 1)) * stride;
    }
    for (size_t v = 0; v < kNativeVectors; ++v) unpack_keys(keys + v * kN, n_bytes, v, tile);
    unpack_scales(keys, n_bytes, n_groups, tile);
    for (int query = 0; query < a.n_queries; ++query) {
      alignas(64) float scores[kNativeKeys] = {};
      const int end = (query + 1) * a.n_heads;
      for (int h = query * a.n_heads; h < end; h += kNativeHeads) {
        switch (end - h) {
          case 1:
            score_native_heads<1>(a, h, tile, scores);
            break;
          case 2:
            score_native_heads<2>(a, h, tile, scores);
            break;
          case 3:
            score_native_heads<3>(a, h, tile, scores);
            break;
          default:
            score_native_heads<kNativeHeads>(a, h, tile, scores);
            break;
        }
      }
      std::memcpy(a.scores + static_cast<size_t>(query) * a.scores_stride + w, scores,
                  static_cast<size_t>(n_keys) * sizeof(float));
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace varve
HWY_AFTER_NAMESPACE();

#endif  // VARVE_SIMD_INDEX_NATIVE_INL_H
