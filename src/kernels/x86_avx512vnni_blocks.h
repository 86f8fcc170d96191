// Weights of GGUF's block types times groups of whole inputs, by VNNI's dots of 16-bit numbers.
#pragma once

#include "kernels/kernels.h"

namespace varve {

/// linear_blocks of the set avx512bf16: processors with AVX512-BF16 have VNNI.
///
/// An output is summed in one f32 lane, group by group of 32 columns in ascending order:
///   sum = fma(dot of the group's codes with its inputs, scale * scale of the inputs, sum), of Q6_K
///   twice, as scales change after 16 columns; then, where the type has minima,
///   sum = fma(minimum, sum of the inputs, sum).
/// A dot is exact: 32 products of at most 2^7 and 2^15.
void linear_blocks_avx512vnni(const LinearBlocksArgs& a);

/// The same for one token.
void gemv_blocks_avx512vnni(const LinearBlocksArgs& a);

/// group_inputs of the set.
void group_inputs_avx512vnni(const float* x, size_t n, InputGroup* y);

}  // namespace varve
