#include "eval/statistics.h"

#include <cmath>
#include <cstddef>
#include <numeric>

namespace varve {

Estimate estimate(std::span<const double> values) {
  if (values.empty()) return {};
  const auto n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  if (values.size() == 1) return {mean, 0};
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return {mean, std::sqrt(squares / (n - 1) / n)};
}

double quantile(std::span<const double> ascending, double q) {
  const double at = q * static_cast<double>(ascending.size() - 1);
  const auto below = static_cast<size_t>(at);
  const double share = at - static_cast<double>(below);
  if (share == 0) return ascending[below];  // nor is infinity beside it multiplied by 0
  return ascending[below] + share * (ascending[below + 1] - ascending[below]);
}

double root_mean_square(std::span<const double> values) {
  if (values.empty()) return 0;
  double squares = 0;
  for (const double value : values) squares += value * value;
  return std::sqrt(squares / static_cast<double>(values.size()));
}

}  // namespace varve
