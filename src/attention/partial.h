// What softmaxes leave over one part of what a query sees. Parts are merged in order, so it makes
// no difference which thread ran which.
#pragma once

#include <cstddef>

#include "base/arena.h"

namespace varve {

/// Of each of n heads: the largest score m, the sum of exp(s - m), and that of exp(s - m) * value.
struct Partial {
  float* max;     // [n]
  float* sum;     // [n]
  float* values;  // [n, head_dim]

  /// `part` is that of the plan.
  static Partial take(ArenaBuilder& arena, const char* part, size_t n, int head_dim);
  /// Of the heads from `head` on.
  Partial from(size_t head, int head_dim) const {
    return {max + head, sum + head, values + head * static_cast<size_t>(head_dim)};
  }
};

/// `to` = what both parts together leave, of n heads. A sum of 0 is that of a part of no rows.
void merge(const Partial& from, const Partial& to, size_t n, int head_dim);

}  // namespace varve
