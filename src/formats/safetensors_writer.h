// Writes one safetensors file as a stream: the tensors are declared first, their data follows in
// chunks of any size. No more than the caller's chunk is ever in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/safetensors_header.h"

namespace varve {

struct DeclaredTensor {
  std::string name;
  std::string dtype;  // as safetensors spells it: "F32", "F8_E4M3", "I8", ...
  std::vector<int64_t> shape;
};

/// The header is padded with spaces so that the data starts at a multiple of 8 bytes; tensors lie
/// in the order declared, with nothing between them. The file is written beside its final path as
/// PATH.part and takes its name in finish(); without finish() nothing is left behind.
/// Errors name the path, and the tensor where there is one.
class SafetensorsWriter {
 public:
  static Result<SafetensorsWriter> create(const std::string& path,
                                          std::vector<DeclaredTensor> tensors,
                                          const Metadata& metadata = {});
  SafetensorsWriter(SafetensorsWriter&&) noexcept = default;
  SafetensorsWriter& operator=(SafetensorsWriter&&) = delete;
  ~SafetensorsWriter();

  /// The next bytes of tensor `name`, which has to be the first that still lacks some.
  Result<void> write(std::string_view name, std::span<const std::byte> chunk);
  /// Refuses while a tensor lacks data; call it once, last.
  Result<void> finish();

 private:
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  SafetensorsWriter() = default;
  void skip_full();  // moves current_ to the first tensor that lacks data

  std::string path_;
  std::unique_ptr<std::FILE, Closer> file_;  // null when finished or moved from
  std::vector<DeclaredTensor> tensors_;
  std::vector<int64_t> sizes_bytes_;  // of each tensor
  size_t current_ = 0;
  int64_t done_bytes_ = 0;  // of the current tensor
};

}  // namespace varve
