// Memory that reads as zeros and takes none: address space alone.
#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"

namespace varve {

class ZeroPages {
 public:
  /// Errors (usage): there is not so much address space.
  static Result<ZeroPages> create(size_t n_bytes);
  ZeroPages() = default;
  ZeroPages(ZeroPages&& other) noexcept;
  ZeroPages& operator=(ZeroPages&& other) noexcept;
  ~ZeroPages();

  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace varve
