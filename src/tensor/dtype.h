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
};

/// Bytes of one stored element; an e2m1x2 element is the byte that holds two values.
size_t dtype_bytes(DType type);

/// The name that safetensors uses: "F32", "BF16", "F8_E4M3", ...; "E2M1x2" for packed e2m1.
std::string_view dtype_name(DType type);

/// The type of a safetensors name; nothing for one that varve does not read.
std::optional<DType> dtype_from_safetensors(std::string_view name);

}  // namespace varve
