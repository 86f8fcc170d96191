// What the vector kernels share: the lane layout of sums, exp, tails.
//
// Law 1 in this set: a sum along K runs in 16 f32 lanes whatever the vector width. Lane l takes
// elements l, l + 16, l + 32, ... in ascending order with (where the machine has it) fused
// multiply-add; a tail counts as filled up with zeros; then lanes fold by 8, 4, 2, 1.

#if defined(VARVE_SIMD_VECTOR_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef VARVE_SIMD_VECTOR_INL_H
#undef VARVE_SIMD_VECTOR_INL_H
#else
#define VARVE_SIMD_VECTOR_INL_H
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace varve {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kLanes = 16;  // of a sum
using DF = hn::CappedTag<float, kLanes>;
using VF = hn::Vec<DF>;
constexpr size_t kN = hn::MaxLanes(DF());  // of a vector
constexpr size_t kParts = kLanes / kN;     // vectors that hold the lanes of one sum

HWY_INLINE VF load(const float* p) {
  return hn::LoadU(DF(), p);
}
HWY_INLINE void store(VF v, float* p) {
  hn::StoreU(v, DF(), p);
}
HWY_INLINE VF set(float value) {
  return hn::Set(DF(), value);
}
HWY_INLINE VF zero() {
  return hn::Zero(DF());
}

constexpr size_t round_up_lanes(size_t n) {
  return (n + kLanes - 1) / kLanes * kLanes;
}

/// to[0, round_up_lanes(n)) = from[0, n), then zeros.
HWY_INLINE void copy_padded(const float* from, size_t n, float* to) {
  std::memcpy(to, from, n * sizeof(float));
  std::memset(to + n, 0, (round_up_lanes(n) - n) * sizeof(float));
}

/// Turns 4 x 4 values in each block of 128 bits: value j of block b of from[i] becomes value i of
/// block b of to[j].
HWY_INLINE void turn_blocks(const VF* from, VF* to) {
  const DF df;
  const hn::Repartition<double, DF> dd;
  const auto low01 = hn::BitCast(dd, hn::InterleaveLower(df, from[0], from[1]));
  const auto low23 = hn::BitCast(dd, hn::InterleaveLower(df, from[2], from[3]));
  const auto high01 = hn::BitCast(dd, hn::InterleaveUpper(df, from[0], from[1]));
  const auto high23 = hn::BitCast(dd, hn::InterleaveUpper(df, from[2], from[3]));
  to[0] = hn::BitCast(df, hn::InterleaveLower(dd, low01, low23));
  to[1] = hn::BitCast(df, hn::InterleaveUpper(dd, low01, low23));
  to[2] = hn::BitCast(df, hn::InterleaveLower(dd, high01, high23));
  to[3] = hn::BitCast(df, hn::InterleaveUpper(dd, high01, high23));
}

/// Folds four sums of 16 lanes each, `a` to `d` pointing at their kParts vectors, into out[0, 4).
HWY_INLINE void fold_lanes(const VF* a, const VF* b, const VF* c, const VF* d, float* out) {
  const DF df;
#if HWY_MAX_BYTES >= 64
  // Folding by 8 packs two sums into one vector, by 4 four; blocks are then a, c, b, d.
  const VF ab = hn::Add(hn::ConcatLowerLower(df, *b, *a), hn::ConcatUpperUpper(df, *b, *a));
  const VF cd = hn::Add(hn::ConcatLowerLower(df, *d, *c), hn::ConcatUpperUpper(df, *d, *c));
  VF all = hn::Add(hn::OddEvenBlocks(hn::SwapAdjacentBlocks(cd), ab),
                   hn::OddEvenBlocks(cd, hn::SwapAdjacentBlocks(ab)));
  all = hn::Add(all, hn::Shuffle1032(all));
  all = hn::Add(all, hn::Shuffle2301(all));
  alignas(64) static constexpr int32_t kOrder[16] = {0, 8, 4, 12};
  const VF four = hn::TableLookupLanes(all, hn::SetTableIndices(df, kOrder));
  hn::StoreU(hn::LowerHalf(hn::LowerHalf(four)), hn::FixedTag<float, 4>(), out);
#else
  const VF* const sums[4] = {a, b, c, d};
  for (size_t i = 0; i < 4; ++i) {
    const VF* const v = sums[i];
#if HWY_MAX_BYTES >= 32
    const VF by8 = hn::Add(v[0], v[1]);
    VF all = hn::Add(by8, hn::ConcatLowerUpper(df, by8, by8));
#else
    VF all = hn::Add(hn::Add(v[0], v[2]), hn::Add(v[1], v[3]));
#endif
    all = hn::Add(all, hn::Shuffle1032(all));
    all = hn::Add(all, hn::Shuffle2301(all));
    out[i] = hn::GetLane(all);
  }
#endif
}

/// The same for one sum.
HWY_INLINE float fold_lanes(const VF* a) {
  float out[4];
  fold_lanes(a, a, a, a, out);
  return out[0];
}

/// e^x to about 1 ulp; infinity above the range of f32, 0 far below it, NaN for NaN. A function of
/// its lane alone.
HWY_INLINE VF exp(VF x) {
  const DF df;
  const hn::RebindToSigned<DF> di;
  // Outside of these bounds the result is infinity or 0 anyway.
  const VF bounded = hn::Min(hn::Max(x, set(-104.0f)), set(89.0f));
  const auto n = hn::NearestInt(hn::Mul(bounded, set(1.44269504f)));
  const VF nf = hn::ConvertTo(df, n);
  // r = x - n ln 2, the logarithm in two parts of which the first is short enough for n * part to
  // be exact.
  VF r = hn::NegMulAdd(nf, set(0.693359375f), bounded);
  r = hn::NegMulAdd(nf, set(-2.12194440e-4f), r);
  VF p = set(1.9875691500e-4f);
  p = hn::MulAdd(p, r, set(1.3981999507e-3f));
  p = hn::MulAdd(p, r, set(8.3334519073e-3f));
  p = hn::MulAdd(p, r, set(4.1665795894e-2f));
  p = hn::MulAdd(p, r, set(1.6666665459e-1f));
  p = hn::MulAdd(p, r, set(5.0000001201e-1f));
  p = hn::Add(hn::MulAdd(p, hn::Mul(r, r), r), set(1.0f));
  // Times 2^n in two steps: n reaches from -150 to 128.
  const auto half = hn::ShiftRight<1>(n);
  const auto bias = hn::Set(di, 127);
  const VF low = hn::BitCast(df, hn::ShiftLeft<23>(hn::Add(half, bias)));
  const VF high = hn::BitCast(df, hn::ShiftLeft<23>(hn::Add(hn::Sub(n, half), bias)));
  return hn::IfThenElse(hn::Eq(x, x), hn::Mul(hn::Mul(p, low), high), x);
}

HWY_INLINE float exp_one(float x) {
  return hn::GetLane(exp(set(x)));
}

/// As bf16_from_f32, in 32-bit lanes.
HWY_INLINE hn::Vec<hn::RebindToUnsigned<DF>> bf16_bits(VF value) {
  const hn::RebindToUnsigned<DF> du;
  const auto bits = hn::BitCast(du, value);
  const auto upper = hn::ShiftRight<16>(bits);
  const auto odd = hn::And(upper, hn::Set(du, 1));
  const auto rounded = hn::ShiftRight<16>(hn::Add(hn::Add(bits, hn::Set(du, 0x7FFF)), odd));
  const auto nan = hn::RebindMask(du, hn::IsNaN(value));
  return hn::IfThenElse(nan, hn::Or(upper, hn::Set(du, 0x40)), rounded);
}

}  // namespace HWY_NAMESPACE
}  // namespace varve
HWY_AFTER_NAMESPACE();

#endif  // VARVE_SIMD_VECTOR_INL_H
