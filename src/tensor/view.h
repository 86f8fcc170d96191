// A named, typed, bounds-checked look at bytes that somebody else owns.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace varve {

struct TensorView {
  std::string name;
  std::string file;  // where it came from, for messages
  DType type = DType::f32;
  // Outermost first; empty = one scalar. Of block types it counts values, not blocks.
  std::vector<int64_t> shape;
  // Exactly n_elements() * dtype_bytes(type), or, of block types, n_elements() / dtype_values(type)
  // * dtype_bytes(type).
  std::span<const std::byte> bytes;

  int64_t n_elements() const {
    int64_t n = 1;
    for (int64_t extent : shape) n *= extent;
    return n;
  }
};

/// "[8192, 4096]"
inline std::string shape_string(std::span<const int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace varve
