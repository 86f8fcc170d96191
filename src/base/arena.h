// One stretch of memory for everything a run allocates, sized before it exists (law 2).
//
// A layout is written once, as code that takes its parts from an ArenaBuilder. Run over a builder
// without memory it only counts (the dry run); run again over the Arena of that size it hands out
// the pointers. Plan and allocation cannot disagree: they are the same code.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace varve {

/// What one part of the arena takes, for the tables that people read.
struct ArenaPart {
  std::string name;
  size_t bytes = 0;
};

class ArenaBuilder {
 public:
  /// Parts start on cache lines, and so do vector loads.
  static constexpr size_t kAlignment = 64;
  /// Counting stops here: no machine has as much, and a few such sums still fit a size_t.
  static constexpr size_t kMostBytes = size_t{1} << 62;

  /// A dry run: counts, hands out null pointers.
  ArenaBuilder() = default;
  /// Hands out memory at `base`, which must hold as much as the dry run counted.
  explicit ArenaBuilder(std::byte* base) : base_(base) {}

  /// Room for `count` objects of T, zeroed. Null in a dry run: do not touch it then.
  template <class T>
  T* take(std::string_view part, size_t count) {
    return reinterpret_cast<T*>(take_bytes(part, count, sizeof(T)));
  }

  bool dry() const { return base_ == nullptr; }
  size_t bytes() const { return offset_; }
  /// Bytes by part, in order of first use. Padding to kAlignment counts to its part.
  const std::vector<ArenaPart>& parts() const { return parts_; }

 private:
  std::byte* take_bytes(std::string_view part, size_t count, size_t size);

  std::byte* base_ = nullptr;
  size_t offset_ = 0;
  std::vector<ArenaPart> parts_;
};

/// Anonymous zeroed pages, touched only as they are used.
class Arena {
 public:
  static Result<Arena> create(size_t bytes);
  Arena() = default;
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&& other) noexcept;
  ~Arena();

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace varve
