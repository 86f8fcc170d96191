// The element types of GGUF tensors by their numbers in the file (ggml.h: enum ggml_type).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tensor/dtype.h"

namespace varve {

struct GgufTensorType {
  uint32_t id;
  std::string_view name;
  int64_t values;                // of a block; 1 where elements stand alone
  int64_t bytes;                 // of a block
  std::optional<DType> read_as;  // nothing for one that varve does not read
};

/// Null for a number that no type has.
const GgufTensorType* gguf_tensor_type(uint32_t id);

/// The type that a tensor is written as; null for one that GGUF does not have.
const GgufTensorType* gguf_tensor_type(DType type);

/// "F32, F16, Q4_0, ...": the types that varve reads, for messages.
std::string readable_gguf_types();

}  // namespace varve
