// What a template may spend: a hostile one ends with a sentence instead of running on or filling
// memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"

namespace varve::jinja {

/// Ten times and more what a conversation of a million tokens takes.
struct Limits {
  int64_t steps = 20'000'000;  // one for each node run, 16 bytes made or item handled
  size_t output_bytes = size_t{64} << 20;
};

class Budget {
 public:
  explicit Budget(int64_t steps) : steps_(steps), left_(steps) {}

  Result<void> take(int64_t steps) {
    left_ -= steps;
    if (left_ >= 0) return {};
    left_ = 0;
    return bad_input("the template takes more than {} steps", steps_);
  }
  /// For reading or making so many bytes.
  Result<void> take_bytes(size_t n) { return take(static_cast<int64_t>(n / 16)); }
  /// For n times m bytes, whatever the product.
  Result<void> take_product(size_t n, size_t m) {
    if (m != 0 && n / 16 > static_cast<size_t>(left_) / m) return take(left_ + 1);
    return take(static_cast<int64_t>(n / 16 * m + m / 16 + 1));
  }

 private:
  int64_t steps_;
  int64_t left_;
};

}  // namespace varve::jinja
