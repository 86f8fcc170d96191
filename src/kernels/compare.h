// How far one result is from another: three errors at once, because each alone can hide a fault.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <cstddef>
#include <string>

namespace varve {

struct Comparison {
  double max_abs = 0;
  double max_relative = 0;  // |got - want| over the largest |want|
  double cosine_error = 0;  // 1 - cosine similarity
  size_t worst = 0;         // index of max_abs
  double worst_got = 0, worst_want = 0;
  size_t mask_mismatches = 0;  // places where only one is NaN, or only one infinite
  size_t first_mismatch = 0;

  bool within(double relative) const {
    return mask_mismatches == 0 && max_relative <= relative && cosine_error <= relative;
  }
  std::string text() const {
    return fmt::format(
        "abs {:.3g} rel {:.3g} cos {:.3g}, worst at {}: got {} want {}; {} mask mismatches, first "
        "at {}",
        max_abs, max_relative, cosine_error, worst, worst_got, worst_want, mask_mismatches,
        first_mismatch);
  }
};

template <class Got, class Want>
Comparison compare(const Got* got, const Want* want, size_t n) {
  Comparison result;
  double largest = 0, dot = 0, got_square = 0, want_square = 0;
  for (size_t i = 0; i < n; ++i) {
    const auto g = static_cast<double>(got[i]), w = static_cast<double>(want[i]);
    if (!std::isfinite(g) || !std::isfinite(w)) {
      const bool same = std::isnan(g) ? std::isnan(w) : g == w;
      if (!same && result.mask_mismatches++ == 0) result.first_mismatch = i;
      continue;
    }
    largest = std::max(largest, std::fabs(w));
    if (std::fabs(g - w) > result.max_abs) {
      result.max_abs = std::fabs(g - w);
      result.worst = i;
      result.worst_got = g;
      result.worst_want = w;
    }
    dot += g * w;
    got_square += g * g;
    want_square += w * w;
  }
  result.max_relative = result.max_abs == 0 ? 0 : result.max_abs / std::max(largest, 1e-30);
  if (result.max_abs > 0 && got_square > 0 && want_square > 0) {
    result.cosine_error = std::max(0.0, 1.0 - dot / std::sqrt(got_square * want_square));
  }
  return result;
}

}  // namespace varve
