// Stored rows of the cache (tensor/row_format.h) to f32, in every bit as decode_row reads them.

#if defined(VARVE_SIMD_ROWS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef VARVE_SIMD_ROWS_INL_H
#undef VARVE_SIMD_ROWS_INL_H
#else
#define VARVE_SIMD_ROWS_INL_H
#endif

#include "kernels/simd_decode-inl.h"
#include "tensor/codecs.h"
#include "tensor/groups.h"

HWY_BEFORE_NAMESPACE();
namespace varve {
namespace HWY_NAMESPACE {

/// Whether any of n values of T, stored at p, has all of these bits set.
template <class T>
HWY_INLINE bool any_has_bits(const uint8_t* p, size_t n, T bits) {
  const hn::CappedTag<T, 64 / sizeof(T)> d;
  const hn::Repartition<uint8_t, decltype(d)> d8;
  const auto wanted = hn::Set(d, bits);
  auto found = hn::MaskFromVec(hn::Zero(d));
  size_t i = 0;
  for (; i + hn::MaxLanes(d) <= n; i += hn::MaxLanes(d)) {
    const auto values = hn::BitCast(d, hn::LoadU(d8, p + i * sizeof(T)));
    found = hn::Or(found, hn::Eq(hn::And(values, wanted), wanted));
  }
  for (; i < n; ++i) {
    T value;
    std::memcpy(&value, p + i * sizeof(T), sizeof value);
    if ((value & bits) == bits) return true;
  }
  return !hn::AllFalse(d, found);
}

/// to[0, n) = the values at `from`, times `scale` and the codec's kFold.
template <class Codec, bool kScaled>
HWY_INLINE void decode_values(const uint8_t* from, size_t n, float scale, float* to) {
  const typename Codec::State state = Codec::ready(scale * Codec::kFold);
  for (size_t i = 0; i < n; i += kLanes, from += Codec::kGroupBytes) {
    const size_t left = n - i;
    uint8_t some[Codec::kGroupBytes] = {};
    float values[kLanes];
    if (left < kLanes) std::memcpy(some, from, left * Codec::kGroupBytes / kLanes);
    const uint8_t* const group = left < kLanes ? some : from;
    float* const out = left < kLanes ? values : to + i;
    for (size_t part = 0; part < kParts; ++part) {
      store(kScaled ? Codec::scaled(group, part, state) : Codec::at(group, part), out + part * kN);
    }
    if (left < kLanes) std::memcpy(to + i, values, left * sizeof(float));
  }
}

// Scale bytes at or above this times CodecE4m3::kFold are no f32.
constexpr uint8_t kFirstFarScale = 247;

/// The e4m3 values of a native row; false where a code or a scale needs the slow way.
HWY_INLINE bool decode_e4m3_groups(const uint8_t* codes, size_t n, const uint8_t* scales,
                                   float* to) {
  if (any_has_bits<uint8_t>(codes, n, 0x7F)) return false;  // NaN
  for (size_t i = 0; i < n; i += kE4m3Group, ++scales) {
    if (*scales >= kFirstFarScale) return false;
    decode_values<CodecE4m3, true>(codes + i, HWY_MIN(n - i, size_t{kE4m3Group}),
                                   f32_from_e8m0(*scales), to + i);
  }
  return true;
}

using DU = hn::RebindToUnsigned<DF>;
using VU = hn::Vec<DU>;

/// level - zero of kN codes, one in the low bits of each lane.
HWY_INLINE VF group_levels(const GroupFormat& format, VU codes) {
  const DU du;
  const DF df;
  if (format.table_levels) {
    // e2m1's exponent and mantissa in f32's places, and what is left to 2^127: twice the value.
    const VU magnitude = hn::ShiftLeft<22>(hn::And(codes, hn::Set(du, 7u)));
    const VU sign = hn::ShiftLeft<28>(hn::And(codes, hn::Set(du, 8u)));
    return hn::Mul(hn::BitCast(df, hn::Or(magnitude, sign)), hn::Set(df, 0x1p127f));
  }
  const hn::RebindToSigned<DF> di;
  const auto level = hn::Sub(hn::BitCast(di, codes), hn::Set(di, format.zero));
  return hn::ConvertTo(df, level);
}

/// to[0, kLanes) = values of a group from kLanes of its codes: bytes, or nibbles shifted down by
/// `shift` with `fifth` bits above them.
HWY_INLINE void decode_half_group(const GroupFormat& format, const uint8_t* codes, int shift,
                                  uint32_t fifth, float scale, float min, float* to) {
  const DU du;
  const hn::Rebind<uint8_t, DF> d8;
  for (size_t part = 0; part < kParts; ++part) {
    VU code = hn::PromoteTo(du, hn::LoadU(d8, codes + part * kN));
    if (format.bits != 8) code = hn::And(hn::ShiftRightSame(code, shift), hn::Set(du, 15u));
    if (format.bits == 5) {
      const VU place = hn::Add(hn::Iota(du, 0), hn::Set(du, static_cast<uint32_t>(part * kN)));
      const VU bit = hn::And(hn::Shr(hn::Set(du, fifth), place), hn::Set(du, 1u));
      code = hn::Or(code, hn::ShiftLeft<4>(bit));
    }
    const VF scaled = hn::Mul(group_levels(format, code), set(scale));
    store(format.has_min ? hn::Add(scaled, set(min)) : scaled, to + part * kN);
  }
}

/// A row of a group format.
HWY_INLINE void decode_groups(const GroupFormat& format, const RowShape& shape,
                              const uint8_t* bytes, float* to) {
  constexpr size_t kHalf = kGroupValues / 2;
  static_assert(kHalf == kLanes);
  const GroupRow at(format, shape);
  for (size_t g = 0; g < at.n_groups; ++g) {
    const StoredGroup group = stored_group(format, at, bytes, g);
    float values[kGroupValues];
    decode_half_group(format, group.codes, 0, group.fifth, group.scale, group.min, values);
    decode_half_group(format, format.bits == 8 ? group.codes + kHalf : group.codes, 4,
                      group.fifth >> kHalf, group.scale, group.min, values + kHalf);
    const size_t n = HWY_MIN(size_t{kGroupValues}, at.n_grouped - g * kGroupValues);
    std::memcpy(to + g * kGroupValues, values, n * sizeof(float));
  }
  decode_values<CodecBf16, false>(bytes + at.bf16_at, static_cast<size_t>(shape.rope_dim), 1,
                                  to + at.n_grouped);
}

/// to[0, dim) = decode_row() of a row of keys and values.
HWY_NOINLINE HWY_MAYBE_UNUSED void decode_attend_row(const AttendRow& row, const RowShape& shape,
                                                     float* to) {
  const auto* const bytes = reinterpret_cast<const uint8_t*>(row.bytes);
  const auto n = static_cast<size_t>(shape.dim);
  const auto n_bf16 = static_cast<size_t>(shape.rope_dim), n_e4m3 = n - n_bf16;
  switch (row.format) {
    case RowFormat::f32:
      break;
    case RowFormat::bf16:
      decode_values<CodecBf16, false>(bytes, n, 1, to);
      return;
    case RowFormat::f16:
      if (any_has_bits<uint16_t>(bytes, n, 0x7C00)) break;  // infinity and NaN
      decode_values<CodecF16, false>(bytes, n, 1, to);
      return;
    case RowFormat::native:
    case RowFormat::fp8:
      if (!decode_e4m3_groups(bytes, n_e4m3, bytes + n_e4m3 + 2 * n_bf16, to)) break;
      decode_values<CodecBf16, false>(bytes + n_e4m3, n_bf16, 1, to + n_e4m3);
      return;
    default:
      decode_groups(*group_format(row.format), shape, bytes, to);
      return;
  }
  decode_row(row.format, shape, row.bytes, to);
}

/// to[0, n) = from rounded to bf16; n is a multiple of kN.
HWY_INLINE void round_inputs(const float* from, size_t n, float* to) {
  for (size_t i = 0; i < n; i += kN) {
    store(hn::BitCast(DF(), hn::ShiftLeft<16>(bf16_bits(load(from + i)))), to + i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace varve
HWY_AFTER_NAMESPACE();

#endif  // VARVE_SIMD_ROWS_INL_H
