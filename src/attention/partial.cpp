#include "attention/partial.h"

#include <algorithm>
#include <cmath>

namespace varve {

Partial Partial::take(ArenaBuilder& arena, const char* part, size_t n, int head_dim) {
  return {arena.take<float>(part, n), arena.take<float>(part, n),
          arena.take<float>(part, n * static_cast<size_t>(head_dim))};
}

void merge(const Partial& from, const Partial& to, size_t n, int head_dim) {
  const auto dim = static_cast<size_t>(head_dim);
  for (size_t h = 0; h < n; ++h) {
    if (from.sum[h] == 0) continue;  // saw nothing
    const float max = std::max(from.max[h], to.max[h]);
    const float keep = to.sum[h] == 0 ? 0 : std::exp(to.max[h] - max);
    const float add = std::exp(from.max[h] - max);
    to.max[h] = max;
    to.sum[h] = to.sum[h] * keep + from.sum[h] * add;
    const float* const source = from.values + h * dim;
    float* const target = to.values + h * dim;
    for (size_t d = 0; d < dim; ++d) target[d] = target[d] * keep + source[d] * add;
  }
}

}  // namespace varve
