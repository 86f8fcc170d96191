#include "base/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace varve {

std::byte* ArenaBuilder::take_bytes(std::string_view part, size_t count, size_t size) {
  const size_t bytes = count <= kMostBytes / size ? count * size : kMostBytes;
  const size_t padded =
      std::min((bytes + kAlignment - 1) / kAlignment * kAlignment, kMostBytes - offset_);
  std::byte* const at = base_ == nullptr ? nullptr : base_ + offset_;
  offset_ += padded;
  auto known = std::find_if(parts_.begin(), parts_.end(),
                            [&](const ArenaPart& p) { return p.name == part; });
  if (known == parts_.end()) {
    parts_.push_back({std::string(part), padded});
  } else {
    known->bytes += padded;
  }
  return at;
}

Result<Arena> Arena::create(size_t bytes) {
  Arena arena;
  if (bytes == 0) return arena;
  void* const at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) {
    return fail(ErrorKind::internal, "cannot reserve {} bytes of memory: {}", bytes,
                std::strerror(errno));
  }
  madvise(at, bytes, MADV_HUGEPAGE);
  arena.data_ = static_cast<std::byte*>(at);
  arena.bytes_ = bytes;
  return arena;
}

Arena::Arena(Arena&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

Arena& Arena::operator=(Arena&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Arena::~Arena() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

}  // namespace varve
