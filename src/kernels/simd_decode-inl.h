// Stored weights to f32 vectors, exactly as Weight::at defines them, except that the NaN codes of
// e4m3 (0x7f, 0xff) read as +-480: a checkpoint that holds them is broken, and looking for them
// would cost every row.

#if defined(VARVE_SIMD_DECODE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef VARVE_SIMD_DECODE_INL_H
#undef VARVE_SIMD_DECODE_INL_H
#else
#define VARVE_SIMD_DECODE_INL_H
#endif

#include "kernels/simd_blocks-inl.h"
#include "kernels/simd_vector-inl.h"
#include "tensor/weight.h"

HWY_BEFORE_NAMESPACE();
namespace varve {
namespace HWY_NAMESPACE {

// A codec reads one vector of kN values: part `part` of the kLanes values that start at byte p.
//   kGroupBytes  bytes of kLanes values
//   kFold        power of two that the caller multiplies into the scale
//   State        a scale (times kFold) made ready for scaled(), once a block

/// The State of most codecs: at() times the scale.
template <class Codec>
struct ScaledCodec {
  using State = VF;
  static HWY_INLINE VF ready(float scale) { return set(scale); }
  static HWY_INLINE VF scaled(const uint8_t* p, size_t part, VF scale) {
    return hn::Mul(Codec::at(p, part), scale);
  }
};

struct CodecF32 : ScaledCodec<CodecF32> {
  static constexpr size_t kGroupBytes = 64;
  static constexpr float kFold = 1;
  static HWY_INLINE VF at(const uint8_t* p, size_t part) {
    return hn::BitCast(DF(), hn::LoadU(hn::Repartition<uint8_t, DF>(), p + part * kN * 4));
  }
};

struct CodecBf16 : ScaledCodec<CodecBf16> {
  static constexpr size_t kGroupBytes = 32;
  static constexpr float kFold = 1;
  static HWY_INLINE VF at(const uint8_t* p, size_t part) {
    const hn::Rebind<uint16_t, DF> d16;
    const hn::RebindToUnsigned<DF> d32;
    const hn::Repartition<uint8_t, decltype(d16)> d8;
    const auto bits = hn::BitCast(d16, hn::LoadU(d8, p + part * kN * 2));
    return hn::BitCast(DF(), hn::ShiftLeft<16>(hn::PromoteTo(d32, bits)));
  }
};

struct CodecF16 : ScaledCodec<CodecF16> {
  static constexpr size_t kGroupBytes = 32;
  static constexpr float kFold = 1;
  static HWY_INLINE VF at(const uint8_t* p, size_t part) {
    const hn::Rebind<uint16_t, DF> d16;
    const hn::Rebind<hwy::float16_t, DF> dh;
    const hn::Repartition<uint8_t, decltype(d16)> d8;
    return hn::PromoteTo(DF(), hn::BitCast(dh, hn::BitCast(d16, hn::LoadU(d8, p + part * kN * 2))));
  }
};

// s eeee mmm moved to s 0eeee mmm0000000 is an f16 of the same value / 2^8, subnormals included.
struct CodecE4m3 : ScaledCodec<CodecE4m3> {
  static constexpr size_t kGroupBytes = 16;
  static constexpr float kFold = 256;
  static HWY_INLINE VF at(const uint8_t* p, size_t part) {
    const hn::Rebind<int8_t, DF> d8;
    const hn::Rebind<int16_t, DF> d16;
    const hn::Rebind<hwy::float16_t, DF> dh;
    const auto codes = hn::BitCast(d8, hn::LoadU(hn::Rebind<uint8_t, DF>(), p + part * kN));
    // The sign extension fills bit 15 and, to be cleared, bit 14.
    const auto wide = hn::ShiftLeft<7>(hn::PromoteTo(d16, codes));
    const auto bits = hn::And(wide, hn::Set(d16, static_cast<int16_t>(0xBFFF)));
    return hn::PromoteTo(DF(), hn::BitCast(dh, bits));
  }
};

struct CodecE2m1 {
  static constexpr size_t kGroupBytes = 8;
  static constexpr float kFold = 1;

  using DU = hn::RebindToUnsigned<DF>;
  using VU = hn::Vec<DU>;

  /// One code in the low four bits of each lane; above them there may be others.
  static HWY_INLINE VU codes(const uint8_t* p, size_t part) {
    const DU du;
#if HWY_MAX_BYTES >= 64
    (void)part;
    uint64_t bits;
    std::memcpy(&bits, p, 8);
    const hn::Repartition<uint64_t, DU> du64;
    alignas(64) static constexpr int32_t kWord[16] = {0, 0, 0, 0, 0, 0, 0, 0,
                                                      1, 1, 1, 1, 1, 1, 1, 1};
    const VU words =
        hn::TableLookupLanes(hn::BitCast(du, hn::Set(du64, bits)), hn::SetTableIndices(du, kWord));
    alignas(64) static constexpr uint32_t kShift[16] = {0, 4, 8, 12, 16, 20, 24, 28,
                                                        0, 4, 8, 12, 16, 20, 24, 28};
    return hn::Shr(words, hn::Load(du, kShift));
#else
    uint32_t bits = 0;
    std::memcpy(&bits, p + part * kN / 2, kN / 2);
    const VU shift = hn::ShiftLeft<2>(hn::Iota(du, 0));
    return hn::Shr(hn::Set(du, bits), shift);
#endif
  }

#if HWY_MAX_BYTES >= 64
  // The whole table is one vector, which is scaled instead of the values.
  using State = VF;
  static HWY_INLINE VF ready(float scale) {
    return hn::Mul(hn::LoadU(DF(), kE2m1Values.data()), set(scale));
  }
  static HWY_INLINE VF scaled(const uint8_t* p, size_t part, VF table) {
    // The lookup takes the low four bits.
    return hn::TableLookupLanes(table, hn::Indices512<float>{codes(p, part).raw});
  }
  static HWY_INLINE VF at(const uint8_t* p, size_t part) {
    return scaled(p, part, hn::LoadU(DF(), kE2m1Values.data()));
  }
#else
  using State = VF;
  static HWY_INLINE VF ready(float scale) { return set(scale); }
  static HWY_INLINE VF scaled(const uint8_t* p, size_t part, VF scale) {
    return hn::Mul(at(p, part), scale);
  }
  static HWY_INLINE VF at(const uint8_t* p, size_t part) {
    const DU du;
    const VU nibbles = hn::And(codes(p, part), hn::Set(du, 15));
    const VU magnitude = hn::And(nibbles, hn::Set(du, 7));
    const VU sign = hn::ShiftLeft<31>(hn::ShiftRight<3>(nibbles));
#if HWY_MAX_BYTES >= 32
    const VF value = hn::TableLookupLanes(hn::LoadU(DF(), kE2m1Values.data()),
                                          hn::IndicesFromVec(DF(), magnitude));
#else
    // From code 2 on an exponent and a mantissa bit, of which the f32 only wants the bias.
    const VU normal = hn::Add(hn::ShiftLeft<22>(magnitude), hn::Set(du, 126u << 23));
    const hn::RebindToSigned<DF> di;
    const VF small = hn::Mul(hn::ConvertTo(DF(), hn::BitCast(di, magnitude)), set(0.5f));
    const VF value = hn::IfThenElse(hn::Lt(small, set(1.0f)), small, hn::BitCast(DF(), normal));
#endif
    return hn::Or(value, hn::BitCast(DF(), sign));
  }
#endif
};

/// Whether a codec's kFold may be multiplied into this scale without rounding or overflow.
HWY_INLINE bool is_plain_scale(float scale) {
  const float magnitude = scale < 0 ? -scale : scale;
  return scale == 0 || (magnitude >= 0x1p-100f && magnitude <= 0x1p100f);
}

/// out[0, end - begin) = values [begin, end) of row r under one scale. `begin` is even for e2m1.
/// Rounds up to whole groups of kLanes: writes as much, never reads as much.
template <class Codec>
HWY_INLINE void decode_run(const uint8_t* row, int begin, int end, float scale, bool scaled,
                           float* out) {
  const auto n = static_cast<size_t>(end - begin);
  const uint8_t* from = row + static_cast<size_t>(begin) * Codec::kGroupBytes / kLanes;
  const bool multiply = scaled || Codec::kFold != 1;
  const typename Codec::State state = Codec::ready(scale * Codec::kFold);
  uint8_t tail[Codec::kGroupBytes] = {};
  for (size_t i = 0; i < n; i += kLanes, from += Codec::kGroupBytes) {
    const uint8_t* group = from;
    if (n - i < kLanes) {
      std::memcpy(tail, from, ((n - i) * Codec::kGroupBytes + kLanes - 1) / kLanes);
      group = tail;
    }
    for (size_t part = 0; part < kParts; ++part) {
      store(multiply ? Codec::scaled(group, part, state) : Codec::at(group, part),
            out + i + part * kN);
    }
  }
}

/// out[0, n) = values [begin, end) of row r, then zeros up to a multiple of kLanes. `begin` is a
/// multiple of kLanes, and of a block's values as `end` is. Writes up to kLanes floats more than
/// that.
HWY_NOINLINE HWY_MAYBE_UNUSED void decode_columns(const Weight& w, int r, int begin, int end,
                                                  float* out) {
  const auto* const row = reinterpret_cast<const uint8_t*>(w.row(r));
  if (dtype_is_block(w.type)) {
    with_block_codec(w.type, [&](auto codec) {
      decode_blocks<decltype(codec)>(row, static_cast<size_t>(begin), static_cast<size_t>(end),
                                     out);
    });
    return;
  }
  const bool scaled = w.scales != nullptr;
  for (int c = begin; c < end;) {
    int run_end = end;
    float scale = 1.0f;
    if (scaled) {
      run_end = (c / w.scale_cols + 1) * w.scale_cols;
      if (run_end > end) run_end = end;
      scale = w.scale(r, c);
    }
    float* const to = out + (c - begin);
    if (!is_plain_scale(scale) || (w.type == DType::e2m1x2 && c % 2 != 0)) {
      for (int i = c; i < run_end; ++i) to[i - c] = w.at(r, i);
    } else {
      switch (w.type) {
        case DType::f32:
          decode_run<CodecF32>(row, c, run_end, scale, scaled, to);
          break;
        case DType::bf16:
          decode_run<CodecBf16>(row, c, run_end, scale, scaled, to);
          break;
        case DType::f16:
          decode_run<CodecF16>(row, c, run_end, scale, scaled, to);
          break;
        case DType::f8_e4m3:
          decode_run<CodecE4m3>(row, c, run_end, scale, scaled, to);
          break;
        case DType::e2m1x2:
          decode_run<CodecE2m1>(row, c, run_end, scale, scaled, to);
          break;
        default:
          break;
      }
    }
    c = run_end;
  }
  const auto n = static_cast<size_t>(end - begin);
  for (size_t i = n; i < round_up_lanes(n); ++i) out[i] = 0;
}

}  // namespace HWY_NAMESPACE
}  // namespace varve
HWY_AFTER_NAMESPACE();

#endif  // VARVE_SIMD_DECODE_INL_H
