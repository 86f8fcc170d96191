// Weights of GGUF's block types times bf16 inputs, by the dot instruction of AVX512-BF16.
#pragma once

#include "kernels/kernels.h"

namespace varve {

/// linear_bf16 of weights of block types.
///
/// An output is summed in one f32 lane, group by group of 32 columns in ascending order:
///   sum = fma(scale, dot of the group's codes with its inputs, sum), of Q6_K twice, as scales
///   change after 16 columns; then, where the type has minima, sum = fma(minimum, sum of the
///   inputs, sum).
/// Codes are bf16 numbers. A dot takes pairs of neighbouring columns in the order in which their
/// bytes lie; the sum of inputs is that of 16 lanes of pairs, folded by 8, 4, 2, 1. The instruction
/// reads subnormal inputs as zero. An infinite input gives NaN where a code is zero.
void linear_blocks_avx512bf16(const LinearBf16Args& a);

/// The same for one token.
void gemv_blocks_avx512bf16(const LinearBf16Args& a);

}  // namespace varve
