// Writes one GGUF file (version 3) as a stream: metadata and tensors are declared first, the
// tensors' data follows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "formats/gguf_metadata.h"
#include "formats/tensor_stream.h"
#include "tensor/dtype.h"

namespace varve {

/// Metadata to be written, in the order added. That keys are unique is the caller's promise.
class GgufEntries {
 public:
  void add(std::string_view key, uint32_t value);
  void add(std::string_view key, float value);
  void add(std::string_view key, bool value);
  void add(std::string_view key, std::string_view text);
  void add(std::string_view key, const char* text) { add(key, std::string_view(text)); }
  void add(std::string_view key, const std::vector<uint32_t>& values);
  void add(std::string_view key, const std::vector<int32_t>& values);
  void add(std::string_view key, const std::vector<float>& values);
  void add(std::string_view key, const std::vector<std::string>& texts);

  uint64_t n() const { return n_; }
  const std::string& bytes() const { return bytes_; }

 private:
  void begin(std::string_view key, GgufType type);
  template <class T>
  void add_array(std::string_view key, GgufType type, const std::vector<T>& values);

  std::string bytes_;  // as in the file
  uint64_t n_ = 0;
};

struct DeclaredGgufTensor {
  std::string name;
  DType type = DType::f32;
  std::vector<int64_t> shape;  // outermost first, values
};

/// Tensors lie in the order declared, at multiples of 32 bytes. Written as a TensorStream is.
class GgufWriter {
 public:
  /// Refuses types that GGUF does not have, rows that are not whole blocks, more than 4 extents and
  /// names that are taken.
  static Result<GgufWriter> create(const std::string& path, const GgufEntries& metadata,
                                   const std::vector<DeclaredGgufTensor>& tensors);

  /// The next bytes of tensor `name`, which has to be the first that still lacks some.
  Result<void> write(std::string_view name, std::span<const std::byte> chunk) {
    return stream_.write(name, chunk);
  }
  /// Refuses while a tensor lacks data; call it once, last.
  Result<void> finish() { return stream_.finish(); }

 private:
  explicit GgufWriter(TensorStream stream) : stream_(std::move(stream)) {}

  TensorStream stream_;
};

}  // namespace varve
