// Some of a run of bytes.
#pragma once

#include <cstddef>
#include <span>

namespace varve {

struct ByteRange {
  size_t at = 0;
  size_t n_bytes = 0;

  bool operator==(const ByteRange&) const = default;
};

/// Of `ranges`, which stand for all `n_bytes` where there are none.
inline size_t bytes_in(std::span<const ByteRange> ranges, size_t n_bytes) {
  if (ranges.empty()) return n_bytes;
  size_t sum = 0;
  for (const ByteRange& range : ranges) sum += range.n_bytes;
  return sum;
}

}  // namespace varve
