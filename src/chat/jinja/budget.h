// What a template may spend: a hostile one ends with a sentence instead of running on or filling
// memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "chat/jinja/held_bytes.h"

namespace varve::jinja {

/// Ten times and more what a conversation of a million tokens takes.
struct Limits {
  int64_t steps = 20'000'000;  // one for each node run, 16 bytes made or item handled
  size_t output_bytes = size_t{64} << 20;
  size_t held_bytes = size_t{64} << 20;  // by values and printed text at once
};

class Budget {
 public:
  explicit Budget(const Limits& limits)
      : limits_(limits), left_(limits.steps), held_before_(HeldBytes::of_this_thread()) {}

  Result<void> take(int64_t steps) {
    left_ -= steps;
    if (left_ < 0) {
      left_ = 0;
      return bad_input("the template takes more than {} steps", limits_.steps);
    }
    if (HeldBytes::of_this_thread() - held_before_ + unfinished_ <= limits_.held_bytes) return {};
    return bad_input("the template's values take more than {} bytes", limits_.held_bytes);
  }
  /// For reading so many bytes, or making what is not much larger than values are that exist.
  Result<void> take_bytes(size_t n) { return take(static_cast<int64_t>(n / 16)); }
  /// For n times m bytes, whatever the product.
  Result<void> take_product(size_t n, size_t m) {
    if (m != 0 && n / 16 > static_cast<size_t>(left_) / m) return take(left_ + 1);
    return take(static_cast<int64_t>(n / 16 * m + m / 16 + 1));
  }
  /// For bytes that are about to become part of a value: they count as held until the node that
  /// makes it is done (see unfinished).
  Result<void> make_bytes(size_t n) {
    unfinished_ += n;
    return take_bytes(n);
  }

  /// Bytes of values that nodes are at work on. Behind a node it is again what it was before.
  size_t unfinished() const { return unfinished_; }
  void set_unfinished(size_t bytes) { unfinished_ = bytes; }

 private:
  Limits limits_;
  int64_t left_;
  size_t held_before_;
  size_t unfinished_ = 0;
};

}  // namespace varve::jinja
