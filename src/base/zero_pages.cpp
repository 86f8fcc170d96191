#include "base/zero_pages.h"

#include <sys/mman.h>

#include <cstring>
#include <utility>

namespace varve {

Result<ZeroPages> ZeroPages::create(size_t n_bytes) {
  ZeroPages out;
  if (n_bytes == 0) return out;
  // Read-only private pages are all the system's one page of zeros.
  void* const at =
      mmap(nullptr, n_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) {
    return usage_error("cannot map {} bytes of address space: {}", n_bytes, std::strerror(errno));
  }
  out.data_ = static_cast<const std::byte*>(at);
  out.size_ = n_bytes;
  return out;
}

ZeroPages::ZeroPages(ZeroPages&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

ZeroPages& ZeroPages::operator=(ZeroPages&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

ZeroPages::~ZeroPages() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace varve
