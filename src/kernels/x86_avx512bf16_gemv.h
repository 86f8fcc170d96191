// A weight times one token by the dot instruction of AVX512-BF16: what decoding is made of.
#pragma once

#include "kernels/kernels.h"

namespace varve {

/// Rows [begin, end) of linear_bf16 for one token. The weight's type and scales are of those that
/// x86_avx512bf16.h takes; sums run as told there.
void gemv_avx512bf16(const LinearBf16Args& a, int begin, int end);

}  // namespace varve
