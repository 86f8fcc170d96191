// Regular expressions for JSON numbers within bounds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"

namespace varve {

/// -9, 0, 120: no fraction, no exponent, up to 18 digits where there is no bound. Both ends belong
/// to it; min is at most max.
std::string integer_regex(std::optional<int64_t> min, std::optional<int64_t> max);

/// A number of a schema as it counts in decimals: sign, whole part, up to 12 digits behind the
/// point.
class Decimal {
 public:
  static constexpr int kMaxFraction = 12;

  /// Nothing: it has more digits than that, or is 1e15 or more.
  static std::optional<Decimal> of(double value);

  bool is_negative() const { return is_negative_; }
  uint64_t whole() const { return whole_; }
  const std::string& fraction() const { return fraction_; }  // without zeros at its end
  bool is_zero() const { return whole_ == 0 && fraction_.empty(); }

 private:
  bool is_negative_ = false;
  uint64_t whole_ = 0;
  std::string fraction_;
};

struct NumberBounds {
  std::optional<Decimal> min = {};
  std::optional<Decimal> max = {};
  bool is_above_min = false;  // min itself is out
  bool is_below_max = false;
  std::optional<int> n_fraction = {};  // digits behind the point, at most
};

/// 1.5, -2e-7; within bounds without an exponent. Nothing: no number is within them. Error
/// (bad_input): bounds that have more digits than a double tells apart.
Result<std::optional<std::string>> number_regex(const NumberBounds& bounds);

}  // namespace varve
