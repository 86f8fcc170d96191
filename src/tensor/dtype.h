// Element types of stored tensors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace varve {

enum class DType : uint8_t {
  f32,
  bf16,
  f16,
  f8_e4m3,  // 1 sign, 4 exponent (bias 7), 3 mantissa; largest 448; 0x7f and 0xff are NaN
  f8_e8m0,  // a power of two: 2^(byte - 127)
  e2m1x2,   // two e2m1 values a byte, the low nibble first (official checkpoints store it as I8)
  i8,
  i32,
  i64,
  // GGUF's block types: an element is a block of 32 or 256 values with its scales
  q8_0,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q4_k,
  q5_k,
  q6_k,
  mxfp4,
  iq4_nl,
};

/// Bytes of one stored element; an e2m1x2 element is the byte that holds two values.
size_t dtype_bytes(DType type);

/// Values of one stored element: 1; 2 of e2m1x2; 32 or 256 of block types.
size_t dtype_values(DType type);

/// Whether an element is a block of many values.
bool dtype_is_block(DType type);

/// The name that safetensors or GGUF uses: "F32", "BF16", "F8_E4M3", "Q4_K"; "E2M1x2" for packed
/// e2m1.
std::string_view dtype_name(DType type);

/// The type of a safetensors name; nothing for one that varve does not read.
std::optional<DType> dtype_from_safetensors(std::string_view name);

}  // namespace varve
