#include "grammar/number_text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <regex>
#include <string>

#include "base/rng.h"

namespace varve {
namespace {

bool matches(const std::string& regex, const std::string& text) {
  return std::regex_match(text, std::regex(regex));
}

TEST(IntegerRegex, HoldsEachIntegerWithinItsBounds) {
  Rng rng(4);
  for (int i = 0; i < 300; ++i) {
    const auto width = static_cast<int64_t>(rng.below(2000));
    const int64_t min = static_cast<int64_t>(rng.below(3000)) - 1500;
    const int64_t max = min + width;
    const std::regex regex(integer_regex(min, max));
    for (int j = 0; j < 60; ++j) {
      const int64_t near = rng.below(2) == 0 ? min : max;
      const int64_t value = near + static_cast<int64_t>(rng.below(25)) - 12;
      const bool is_within = value >= min && value <= max;
      EXPECT_EQ(std::regex_match(std::to_string(value), regex), is_within)
          << value << " in " << min << " to " << max;
    }
  }
}

TEST(IntegerRegex, ReachesTheEndsOf64Bits) {
  const std::string all = integer_regex(INT64_MIN, INT64_MAX);
  EXPECT_TRUE(matches(all, "-9223372036854775808"));
  EXPECT_FALSE(matches(all, "-9223372036854775809"));
  EXPECT_TRUE(matches(all, "9223372036854775807"));
  EXPECT_FALSE(matches(all, "9223372036854775808"));
  EXPECT_TRUE(matches(all, "0"));
  EXPECT_FALSE(matches(all, "-0"));
  EXPECT_FALSE(matches(all, "01"));
  const std::string above = integer_regex(INT64_MAX - 1, std::nullopt);
  EXPECT_TRUE(matches(above, "9223372036854775806"));
  EXPECT_FALSE(matches(above, "9223372036854775805"));
  const std::string open = integer_regex(std::nullopt, std::nullopt);
  EXPECT_TRUE(matches(open, "-999999999999999999"));
  EXPECT_FALSE(matches(open, "1000000000000000000"));
  EXPECT_TRUE(matches(integer_regex(std::nullopt, -7), "-7"));
  EXPECT_FALSE(matches(integer_regex(std::nullopt, -7), "-6"));
}

TEST(Decimal, IsWhatTheDoubleSays) {
  const auto decimal = Decimal::of(-12.0625);
  ASSERT_TRUE(decimal);
  EXPECT_TRUE(decimal->is_negative());
  EXPECT_EQ(decimal->whole(), 12u);
  EXPECT_EQ(decimal->fraction(), "0625");
  EXPECT_EQ(Decimal::of(0.1)->fraction(), "1");
  EXPECT_TRUE(Decimal::of(-0.0)->is_zero());
  EXPECT_FALSE(Decimal::of(1e15));
  EXPECT_FALSE(Decimal::of(1.0 / 3));
  EXPECT_FALSE(Decimal::of(1e-13));
  EXPECT_FALSE(Decimal::of(std::nan("")));
}

std::string fixed(double value, int n_digits) {
  return fmt::format("{:.{}f}", value, n_digits);
}

// Decimals near the bounds: those with up to as many digits as there may be are in exactly when
// they are within.
TEST(NumberRegex, HoldsEachDecimalWithinItsBounds) {
  Rng rng(11);
  int n_within = 0;
  for (int i = 0; i < 400; ++i) {
    const auto draw = [&](int digits) {
      const double scale = std::pow(10.0, digits);
      return static_cast<double>(static_cast<int64_t>(rng.below(80'000)) - 40'000) / scale;
    };
    double low = draw(static_cast<int>(rng.below(5)));
    double high = draw(static_cast<int>(rng.below(5)));
    if (low > high) std::swap(low, high);
    NumberBounds bounds;
    if (rng.below(4) != 0) bounds.min = Decimal::of(low);
    if (rng.below(4) != 0) bounds.max = Decimal::of(high);
    bounds.is_above_min = rng.below(2) == 0;
    bounds.is_below_max = rng.below(2) == 0;
    const auto regex = number_regex(bounds);
    ASSERT_TRUE(regex);
    const auto is_within = [&](double value) {
      return !(bounds.min && (bounds.is_above_min ? value <= low : value < low)) &&
             !(bounds.max && (bounds.is_below_max ? value >= high : value > high));
    };
    if (!*regex) {
      EXPECT_FALSE(is_within(low) || is_within(high)) << low << " to " << high;
      continue;
    }
    const std::regex compiled(**regex);
    for (int j = 0; j < 60; ++j) {
      const int n_digits = static_cast<int>(rng.below(7));
      const double near = rng.below(2) == 0 ? low : high;
      const double step = std::pow(10.0, -n_digits);
      const std::string text =
          fixed(near + step * static_cast<double>(static_cast<int>(rng.below(5)) - 2), n_digits);
      if (text.starts_with("-0") && std::stod(text) == 0) continue;  // spelt 0
      EXPECT_EQ(std::regex_match(text, compiled), is_within(std::stod(text)))
          << text << " in " << low << " to " << high << " by " << **regex;
      n_within += is_within(std::stod(text)) ? 1 : 0;
    }
  }
  EXPECT_GT(n_within, 1000);
}

TEST(NumberRegex, TakesExponentsWithoutBounds) {
  const std::string any = number_regex({})->value();
  for (const char* const text : {"0", "-0", "1.50", "-12.25", "1e5", "2E-07", "3.5e+20"}) {
    EXPECT_TRUE(matches(any, text)) << text;
  }
  for (const char* const text : {"", ".5", "1.", "01", "+1", "1e", "1e500", "--1", "0x1"}) {
    EXPECT_FALSE(matches(any, text)) << text;
  }
  const std::string cents = number_regex({.n_fraction = 2})->value();
  EXPECT_TRUE(matches(cents, "19.99"));
  EXPECT_FALSE(matches(cents, "19.999"));
  EXPECT_FALSE(matches(cents, "1e5"));
}

TEST(NumberRegex, RefusesBoundsThatDoublesDoNotTellApart) {
  EXPECT_FALSE(number_regex({.min = Decimal::of(123456789012.25), .max = Decimal::of(1e14)}));
  EXPECT_FALSE(number_regex({.min = Decimal::of(0.125), .n_fraction = 2}));
  EXPECT_TRUE(number_regex({.min = Decimal::of(1e14)}));
}

}  // namespace
}  // namespace varve
