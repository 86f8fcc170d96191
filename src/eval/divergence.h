// How far one model's guesses are from another's: Kullback-Leibler divergence and what else is
// asked of a cache that rounds.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "eval/statistics.h"

namespace varve {

/// Of one position: guesses q under test against reference guesses p.
struct Divergence {
  double kld = 0;         // sum of p log(p / q), nats
  bool same_top = false;  // the same argmax
  int top5_overlap = 0;   // ids among the first 5 of both
  double delta_p = 0;     // q - p of the token that comes next in the text
};

/// A reference row of logits, worked out once for any number of rows under test.
class ReferenceRow {
 public:
  static constexpr int kTop = 5;

  ReferenceRow() = default;
  /// Memory of an earlier row is used again.
  void assign(std::span<const float> logits);

  /// `logits` has as many values. Where a logit of either row is not finite, nothing is equal:
  /// the divergence is infinite, and q is taken for 0.
  Divergence compare(std::span<const float> logits, int32_t next_id) const;

 private:
  std::vector<float> logits_;
  std::vector<double> p_;
  double log_sum_ = 0;  // log of the sum of exp(logits)
  std::array<int32_t, kTop> top_ = {};
};

/// The divergences of many positions.
struct DivergenceSummary {
  size_t n = 0;
  Estimate kld;
  double median = 0, p90 = 0, p95 = 0, p99 = 0, p999 = 0, max = 0;  // of kld
  Estimate same_top;                                                // share, 0 to 1
  Estimate top5_overlap;                                            // share, 0 to 1
  Estimate delta_p;
  double delta_p_rms = 0;
};
DivergenceSummary summarise(std::span<const Divergence> divergences);

}  // namespace varve
