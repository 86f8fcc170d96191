// What becomes of a matrix in a file of the other format: its type there, whether every value stays
// what it was, and its bytes.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "base/result.h"
#include "tensor/weight.h"

namespace varve {

struct Encoding {
  DType type = DType::f32;
  bool exact = true;  // decodes to the same values
};

/// In a GGUF file, of matrices that become one tensor. F32, BF16, F16 and block types stay. Packed
/// e2m1 with E8M0 scales becomes MXFP4. E4M3 becomes `fp8` if that is Q8_0 and rows are whole
/// blocks of it; otherwise, as all that GGUF has no type for, BF16 where the scales are powers of
/// two, which holds every product, and F32 where they are not.
Encoding gguf_encoding(std::span<const Weight> matrices, DType fp8);

/// In a safetensors file: MXFP4 becomes packed e2m1 with E8M0 scales, other block types F32.
Encoding safetensors_encoding(const Weight& matrix);

/// Bytes of [n_rows, n_cols] as `type`, scales that are a tensor of their own left out.
size_t encoded_bytes(DType type, int64_t n_rows, int64_t n_cols);

using Sink = std::function<Result<void>(std::span<const std::byte>)>;

/// The rows of `matrix` as one of the types that the above choose for it, one by one.
Result<void> write_rows(const Weight& matrix, DType type, const Sink& sink);

/// The E8M0 scales that go with write_rows() of MXFP4 as packed e2m1: [n_rows, n_cols / 32].
Result<void> write_scales(const Weight& mxfp4, const Sink& sink);

}  // namespace varve
