// Attention over native and bf16 rows by the dot instruction of AVX512-BF16.
#pragma once

#include "kernels/kernels.h"

namespace varve {

/// attend for machines that have the set "avx512bf16". With bf16 products and rows that are all
/// native, bf16 or quantised, a tile of rows is decoded to bf16 once (rows in groups are rounded to
/// it) and meets all heads twice:
///  - a score is summed in one lane over the pairs of dimensions (0, 1), (2, 3), ...;
///  - a value is summed in one lane over the pairs of rows (0, 1), (2, 3), ... of the tile, an odd
///    last one with zeros;
///  - the exp(s - m) are summed in 16 lanes, row k in lane k % 16, that fold at the end.
/// The instruction reads subnormal bf16 inputs as zero and rounds subnormal sums to zero. Native
/// rows are normal bf16 numbers unless their scales are far out; a call with such a row, with f32
/// products or with rows of other formats is left to "simd". The rows of a call follow from the
/// query alone, and so does the choice.
void attend_avx512bf16(const AttendArgs& a);

RowDots row_dots_avx512bf16(RowFormat format, Products products);

/// attend_kv, with bf16 products: bf16 and fp8 rows in the same way, rows in groups by exact dots
/// of their bytes (x86_avx512vnni_kv-inl.h). All else, and a call with f32 or f16 rows on either
/// side, is left to "simd".
void attend_kv_avx512bf16(const AttendKvArgs& a);
std::array<RowDots, 2> kv_dots_avx512bf16(RowFormat k, RowFormat v, Products products);

}  // namespace varve
