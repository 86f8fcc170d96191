// bf16 products by the dot instruction of AVX512-BF16.
#pragma once

#include "kernels/kernels.h"

namespace varve {

/// Null where this machine has no such instruction. linear_bf16 and, over native and bf16 rows,
/// attend are this set's own; native index scores are those of x86_avx512vnni.h where the machine
/// has that one too; all else is that of "simd".
///
/// Sums of linear_bf16 run in 16 f32 lanes: lane l takes the pairs of elements (2l, 2l + 1),
/// (2l + 32, 2l + 33), ... in ascending order, a tail filled up with zeros, then lanes fold by 8,
/// 4, 2, 1. The instruction reads subnormal bf16 inputs as zero and rounds subnormal sums to zero.
/// Weights of e4m3 and e2m1 times their scale are normal bf16 numbers here, so that nothing of them
/// is lost; rows whose scales would carry them out of that range, and weights that are no bf16
/// numbers (f32, f16, scales that are no powers of two or do not come in whole steps of 32
/// columns), are left to "simd". Of block types, linear_blocks is this set's own
/// (x86_avx512vnni_blocks.h).
const Kernels* avx512bf16_kernels();

}  // namespace varve
