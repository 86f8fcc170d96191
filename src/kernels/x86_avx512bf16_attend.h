// Attention over native and bf16 rows by the dot instruction of AVX512-BF16.
#pragma once

#include "kernels/kernels.h"

namespace varve {

/// attend for machines that have the set "avx512bf16". With bf16 products and rows that are all
/// native or bf16, a tile of rows is decoded to bf16 once and meets all heads twice:
///  - a score is summed in one lane over the pairs of dimensions (0, 1), (2, 3), ...;
///  - a value is summed in one lane over the pairs of rows (0, 1), (2, 3), ... of the tile, an odd
///    last one with zeros;
///  - the exp(s - m) are summed in 16 lanes, row k in lane k % 16, that fold at the end.
/// The instruction reads subnormal bf16 inputs as zero and rounds subnormal sums to zero. Native
/// rows are normal bf16 numbers unless their scales are far out; a call with such a row, with f32
/// products or with rows of other formats is left to "simd". The rows of a call follow from the
/// query alone, and so does the choice.
void attend_avx512bf16(const AttendArgs& a);

/// attend_kv in the same way, where products, keys and values are bf16; all else is left to "simd".
void attend_kv_avx512bf16(const AttendKvArgs& a);

}  // namespace varve
