// A file of tensors written as a stream: a header that says where they lie, then their data in
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

namespace varve {

struct SizedTensor {
  std::string name;
  int64_t bytes = 0;
};

/// Tensors lie in the order declared, each at the next multiple of `alignment` behind the header.
/// The file is written beside its final path as PATH.part and takes its name in finish(); without
/// finish() nothing is left behind. Errors name the path, and the tensor where there is one.
class TensorStream {
 public:
  static Result<TensorStream> create(const std::string& path, std::string_view header,
                                     std::vector<SizedTensor> tensors, size_t alignment);
  TensorStream(TensorStream&&) noexcept = default;
  TensorStream& operator=(TensorStream&&) = delete;
  ~TensorStream();

  /// The next bytes of tensor `name`, which has to be the first that still lacks some.
  Result<void> write(std::string_view name, std::span<const std::byte> chunk);
  /// Refuses while a tensor lacks data; call it once, last.
  Result<void> finish();

 private:
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  TensorStream() = default;
  Result<void> put(std::span<const std::byte> bytes);
  Result<void> skip_full();  // pads, and moves current_ to the first tensor that lacks data

  std::string path_;
  std::unique_ptr<std::FILE, Closer> file_;  // null when finished or moved from
  std::vector<SizedTensor> tensors_;
  size_t alignment_ = 1;
  size_t at_ = 0;  // bytes written
  size_t current_ = 0;
  int64_t done_bytes_ = 0;  // of the current tensor
};

}  // namespace varve
