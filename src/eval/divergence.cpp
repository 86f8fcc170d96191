#include "eval/divergence.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "eval/logits.h"

namespace varve {
namespace {

using Top = std::array<int32_t, ReferenceRow::kTop>;

// Ids of the largest logits in descending order, the lower id first of equals; -1 where there are
// no more.
Top top_of(std::span<const float> logits) {
  Top top;
  top.fill(-1);
  for (size_t i = 0; i < logits.size(); ++i) {
    const auto is_above = [&](int32_t id) {
      return id < 0 || logits[i] > logits[static_cast<size_t>(id)];
    };
    if (!is_above(top.back())) continue;
    size_t at = top.size() - 1;
    for (; at > 0 && is_above(top[at - 1]); --at) top[at] = top[at - 1];
    top[at] = static_cast<int32_t>(i);
  }
  return top;
}

}  // namespace

void ReferenceRow::assign(std::span<const float> logits) {
  logits_.assign(logits.begin(), logits.end());
  log_sum_ = log_sum_exp(logits);
  top_ = top_of(logits);
  p_.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    p_[i] = std::exp(static_cast<double>(logits[i]) - log_sum_);
  }
}

// With x the reference's logits and y those under test:
//   sum p log(p / q) = sum p (x - y) - (log_sum x - log_sum y),
// which is 0 where they are equal. Rounding may leave -1e-16 of what is at least 0.
Divergence ReferenceRow::compare(std::span<const float> logits, int32_t next_id) const {
  const auto next = static_cast<size_t>(next_id);
  const double log_sum = log_sum_exp(logits);
  double weighted = 0;
  for (size_t i = 0; i < p_.size(); ++i) {
    weighted += p_[i] * (static_cast<double>(logits_[i]) - static_cast<double>(logits[i]));
  }
  const double kld = weighted - (log_sum_ - log_sum);
  if (!std::isfinite(kld)) {
    return {std::numeric_limits<double>::infinity(), false, 0,
            std::isfinite(p_[next]) ? -p_[next] : 0};
  }
  const Top top = top_of(logits);
  int n_common = 0;
  for (const int32_t id : top_) {
    n_common += id >= 0 && std::find(top.begin(), top.end(), id) != top.end() ? 1 : 0;
  }
  return {std::max(0.0, kld), top[0] == top_[0], n_common,
          std::exp(static_cast<double>(logits[next]) - log_sum) - p_[next]};
}

DivergenceSummary summarise(std::span<const Divergence> divergences) {
  if (divergences.empty()) return {};
  std::vector<double> kld, same_top, overlap, delta_p;
  for (const Divergence& one : divergences) {
    kld.push_back(one.kld);
    same_top.push_back(one.same_top ? 1 : 0);
    overlap.push_back(static_cast<double>(one.top5_overlap) / ReferenceRow::kTop);
    delta_p.push_back(one.delta_p);
  }
  const Estimate mean_kld = estimate(kld);
  std::sort(kld.begin(), kld.end());
  return {.n = divergences.size(),
          .kld = mean_kld,
          .median = quantile(kld, 0.5),
          .p90 = quantile(kld, 0.9),
          .p95 = quantile(kld, 0.95),
          .p99 = quantile(kld, 0.99),
          .p999 = quantile(kld, 0.999),
          .max = kld.back(),
          .same_top = estimate(same_top),
          .top5_overlap = estimate(overlap),
          .delta_p = estimate(delta_p),
          .delta_p_rms = root_mean_square(delta_p)};
}

}  // namespace varve
