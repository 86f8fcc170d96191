// What a sample says about the whole: means with error bars, quantiles.
#pragma once

#include <span>

namespace varve {

/// A mean and its standard error, in the unit of the values.
struct Estimate {
  double mean = 0;
  double error = 0;
};

/// Values count as independent draws; the error is s / sqrt(n), with s^2 over n - 1. Of tokens of
/// one text, which lean on each other, it is a little too small. One value has an error of 0.
Estimate estimate(std::span<const double> values);

/// The q-quantile, 0 <= q <= 1, of values in ascending order: between two of them, on the line.
/// `ascending` must not be empty.
double quantile(std::span<const double> ascending, double q);

double root_mean_square(std::span<const double> values);

}  // namespace varve
