// GGUF's block types: 32 or 256 values as integer codes under scales of their own.
//
// A value is scale * code, or scale * code + minimum. The product of the two is exact in f32 for
// every type, so a value is rounded once at most, by the addition; a fused multiply-add gives the
// same. Layouts are those of ggml-common.h, little-endian (docs/formats/blocks.md).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace varve {

/// Values of the largest block.
inline constexpr size_t kLargestBlock = 256;

/// The 16 values of IQ4_NL, times the scale of their block.
inline constexpr std::array<int8_t, 16> kIq4NlValues = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                        1,    13,   25,  38,  53,  69,  89,  113};

/// Twice the 16 values of e2m1: MXFP4's codes, whose scales are half of what their byte says.
inline constexpr std::array<int8_t, 16> kTwiceE2m1Values = {0, 1,  2,  3,  4,  6,  8,  12,
                                                            0, -1, -2, -3, -4, -6, -8, -12};

/// 2^(byte - 128), MXFP4's scale over kTwiceE2m1Values. Bytes 0 and 1 are subnormal f32.
float f32_from_half_e8m0(uint8_t byte);

/// values[0, dtype_values(type)) = the block, for any block type.
void decode_block(DType type, const std::byte* block, float* values);

/// Whether encode_block() knows the type: Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 MXFP4.
bool can_encode_block(DType type);

/// block = 32 finite values, rounded as ggml's reference quantisers round: codes are found with the
/// scale before it is rounded to f16. Bytes and values must not overlap.
void encode_block(DType type, const float* values, std::byte* block);

}  // namespace varve
