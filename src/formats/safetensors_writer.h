// Writes one safetensors file as a stream: the tensors are declared first, their data follows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "formats/safetensors_header.h"
#include "formats/tensor_stream.h"

namespace varve {

struct DeclaredTensor {
  std::string name;
  std::string dtype;  // as safetensors spells it: "F32", "F8_E4M3", "I8", ...
  std::vector<int64_t> shape;
};

/// The header is padded with spaces so that the data starts at a multiple of 8 bytes; tensors lie
/// in the order declared, with nothing between them. Written as a TensorStream is.
class SafetensorsWriter {
 public:
  static Result<SafetensorsWriter> create(const std::string& path,
                                          const std::vector<DeclaredTensor>& tensors,
                                          const Metadata& metadata = {});

  /// The next bytes of tensor `name`, which has to be the first that still lacks some.
  Result<void> write(std::string_view name, std::span<const std::byte> chunk) {
    return stream_.write(name, chunk);
  }
  /// Refuses while a tensor lacks data; call it once, last.
  Result<void> finish() { return stream_.finish(); }

 private:
  explicit SafetensorsWriter(TensorStream stream) : stream_(std::move(stream)) {}

  TensorStream stream_;
};

}  // namespace varve
