// How much memory values take while they live.
#pragma once

#include <cstddef>

namespace varve::jinja {

/// So many bytes, counted as long as it lives. Counts are a thread's own: what a rendering makes
/// lives and dies on the thread that it runs on.
class HeldBytes {
 public:
  HeldBytes() = default;
  explicit HeldBytes(size_t bytes) noexcept { add(bytes); }
  HeldBytes(const HeldBytes& other) noexcept : HeldBytes(other.bytes_) {}
  HeldBytes& operator=(const HeldBytes&) = delete;
  ~HeldBytes() { of_thread_ -= bytes_; }

  void add(size_t bytes) noexcept {
    bytes_ += bytes;
    of_thread_ += bytes;
  }

  /// The sum of all on this thread. What began elsewhere makes it wrong; differences are right.
  static size_t of_this_thread() { return of_thread_; }

 private:
  static inline thread_local size_t of_thread_ = 0;
  size_t bytes_ = 0;
};

}  // namespace varve::jinja
