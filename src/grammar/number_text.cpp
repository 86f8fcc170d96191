#include "grammar/number_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>
#include <vector>

namespace varve {
namespace {

constexpr uint64_t kMostOf18Digits = 999'999'999'999'999'999;
// A double tells all decimals of so many digits apart.
constexpr int kDoubleDigits = 15;
constexpr uint64_t kMostOf15Digits = 999'999'999'999'999;
constexpr int kUsualFraction = 6;

std::string alternatives(const std::vector<std::string>& all) {
  if (all.size() == 1) return all.front();
  std::string text = "(?:";
  for (const std::string& one : all) {
    if (text.size() > 3) text += '|';
    text += one;
  }
  return text + ")";
}

std::string digit_class(char low, char high) {
  if (low == high) return std::string(1, low);
  return {'[', low, '-', high, ']'};
}

std::string any_digits(size_t n) {
  if (n == 0) return "";
  return n == 1 ? "[0-9]" : fmt::format("[0-9]{{{}}}", n);
}

// Not `?`: the automaton that xgrammar 0.2.8 makes of it may skip into the middle of what repeats.
constexpr std::string_view kMaybe = "{0,1}";

// Strings of as many digits as `low` and `high` have, between them.
std::string digits_between(std::string_view low, std::string_view high) {
  if (low.empty()) return "";
  const size_t n = low.size() - 1;
  const bool is_any =
      low.find_first_not_of('0') == low.npos && high.find_first_not_of('9') == high.npos;
  if (is_any) return any_digits(n + 1);
  if (low.front() == high.front()) {
    return low.front() + digits_between(low.substr(1), high.substr(1));
  }
  std::vector<std::string> all;
  char first = low.front();
  char last = high.front();
  const std::string zeros(n, '0');
  const std::string nines(n, '9');
  if (low.substr(1) != zeros) {
    all.push_back(first + digits_between(low.substr(1), nines));
    ++first;
  }
  std::string at_last;
  if (high.substr(1) != nines) {
    at_last = last + digits_between(zeros, high.substr(1));
    --last;
  }
  if (first <= last) all.push_back(digit_class(first, last) + any_digits(n));
  if (!at_last.empty()) all.push_back(at_last);
  return alternatives(all);
}

// Without a sign; no zeros in front.
std::string whole_between(uint64_t low, uint64_t high) {
  std::string from = std::to_string(low);
  const std::string to = std::to_string(high);
  std::vector<std::string> all;
  if (from.size() < to.size()) {
    all.push_back(digits_between(from, std::string(from.size(), '9')));
    if (from.size() + 1 < to.size()) {
      all.push_back(fmt::format("[1-9][0-9]{{{},{}}}", from.size(), to.size() - 2));
    }
    from = "1" + std::string(to.size() - 1, '0');
  }
  all.push_back(digits_between(from, to));
  return alternatives(all);
}

uint64_t magnitude(int64_t value) {
  return value < 0 ? ~static_cast<uint64_t>(value) + 1 : static_cast<uint64_t>(value);
}

// Where a number stands to a bound, digit by digit: still on it, or past it.
struct Tight {
  bool low = false;
  bool high = false;
};

// Digits behind the point between two bounds, each padded with zeros to the most that may be.
class FractionReader {
 public:
  FractionReader(std::string low, bool is_above, std::string high, bool is_below)
      : low_(std::move(low)), high_(std::move(high)), is_above_(is_above), is_below_(is_below) {}

  // With the point; nothing where no digits fit, "" where none are needed.
  std::optional<std::string> text(Tight tight) const {
    const auto digits = more(0, tight);
    const bool may_end = ends(0, tight);
    if (!digits) return may_end ? std::optional<std::string>("") : std::nullopt;
    const std::string text = fmt::format("\\.{}", *digits);
    return may_end ? fmt::format("(?:{}){}", text, kMaybe) : text;
  }

 private:
  bool ends(size_t at, Tight tight) const {
    const bool low_ends = low_.find_first_not_of('0', at) == low_.npos;
    const bool high_ends = high_.find_first_not_of('0', at) == high_.npos;
    if (tight.low && !(low_ends && !is_above_)) return false;
    return !(tight.high && high_ends && is_below_);
  }

  // At least one digit more.
  std::optional<std::string> more(size_t at, Tight tight) const {
    if (at == low_.size()) return std::nullopt;
    std::vector<std::string> all;
    char first = tight.low ? low_[at] : '0';
    char last = tight.high ? high_[at] : '9';
    const auto add_edge = [&](char digit, Tight next) {
      const auto rest = after(at + 1, next);
      if (rest) all.push_back(digit + *rest);
    };
    if (tight.low && tight.high && first == last) {
      add_edge(first, tight);
      return all.empty() ? std::nullopt : std::optional(alternatives(all));
    }
    if (tight.low) add_edge(first++, {.low = true, .high = false});
    const bool has_high_edge = tight.high;
    if (has_high_edge) --last;
    if (first <= last) {
      const size_t n = low_.size() - at - 1;
      all.push_back(digit_class(first, last) + (n > 0 ? fmt::format("[0-9]{{0,{}}}", n) : ""));
    }
    if (has_high_edge) add_edge(high_[at], {.low = false, .high = true});
    return all.empty() ? std::nullopt : std::optional(alternatives(all));
  }

  // Any number of digits more.
  std::optional<std::string> after(size_t at, Tight tight) const {
    const auto digits = more(at, tight);
    if (!ends(at, tight)) return digits;
    return digits ? fmt::format("(?:{}){}", *digits, kMaybe) : "";
  }

  std::string low_;
  std::string high_;
  bool is_above_;
  bool is_below_;
};

// A bound without its sign.
struct Bound {
  uint64_t whole = 0;
  std::string fraction;
  bool is_out = false;
};

Bound bound_of(const Decimal& decimal, bool is_out) {
  return {decimal.whole(), decimal.fraction(), is_out};
}

// Between two bounds without sign; nothing where there is no such number.
std::optional<std::string> magnitude_regex(const Bound& low, const Bound& high, size_t n_fraction) {
  const auto padded = [&](const std::string& digits) {
    return digits + std::string(n_fraction - digits.size(), '0');
  };
  const FractionReader fractions(padded(low.fraction), low.is_out, padded(high.fraction),
                                 high.is_out);
  std::vector<std::string> all;
  const auto add = [&](uint64_t whole, Tight tight) {
    const auto fraction = fractions.text(tight);
    if (fraction) all.push_back(std::to_string(whole) + *fraction);
  };
  if (low.whole > high.whole) return std::nullopt;
  if (low.whole == high.whole && padded(low.fraction) > padded(high.fraction)) return std::nullopt;
  const bool is_bounded = !low.fraction.empty() || low.is_out;
  if (low.whole == high.whole) {
    add(low.whole, {.low = is_bounded, .high = true});
  } else {
    add(low.whole, {.low = is_bounded, .high = false});
    if (low.whole + 1 < high.whole) {
      const std::string fraction =
          n_fraction == 0 ? "" : fmt::format("(?:\\.[0-9]{{1,{}}}){}", n_fraction, kMaybe);
      all.push_back(whole_between(low.whole + 1, high.whole - 1) + fraction);
    }
    add(high.whole, {.low = false, .high = true});
  }
  if (all.empty()) return std::nullopt;
  return alternatives(all);
}

// Fewer digits behind the point where the bounds have many in front.
Result<size_t> fraction_digits(const NumberBounds& bounds) {
  size_t n_needed = 0;
  size_t n_whole = 1;
  for (const auto& bound : {bounds.min, bounds.max}) {
    if (!bound) continue;
    n_needed = std::max(n_needed, bound->fraction().size());
    n_whole = std::max(n_whole, std::to_string(bound->whole()).size());
  }
  if (n_needed + n_whole > kDoubleDigits) {
    return bad_input("expected bounds of at most {} digits", kDoubleDigits);
  }
  const auto n_room = kDoubleDigits - n_whole;
  if (bounds.n_fraction) {
    const auto n_asked = static_cast<size_t>(*bounds.n_fraction);
    if (n_asked < n_needed) {
      return bad_input(
          "expected bounds with at most {} digits behind the point, as `multipleOf` has", n_asked);
    }
    return std::min(n_room, n_asked);
  }
  return std::min(n_room, std::max<size_t>(kUsualFraction, n_needed));
}

std::string unbounded_number(std::optional<int> n_fraction) {
  const std::string whole = "-{0,1}(?:0|[1-9][0-9]{0,14})";
  if (n_fraction && *n_fraction == 0) return whole;
  const std::string fraction =
      fmt::format("(?:\\.[0-9]{{1,{}}}){}", n_fraction.value_or(15), kMaybe);
  return whole + fraction + (n_fraction ? "" : "(?:[eE][+\\-]{0,1}[0-9]{1,2}){0,1}");
}

}  // namespace

std::string integer_regex(std::optional<int64_t> min, std::optional<int64_t> max) {
  const auto most = static_cast<int64_t>(kMostOf18Digits);
  const int64_t low = min.value_or(max && *max < -most ? INT64_MIN : -most);
  const int64_t high = max.value_or(min && *min > most ? INT64_MAX : most);
  std::vector<std::string> all;
  if (low < 0) {
    const uint64_t least = high < 0 ? magnitude(high) : 1;
    all.push_back("-" + whole_between(least, magnitude(low)));
  }
  if (high >= 0) {
    all.push_back(whole_between(low < 0 ? 0 : magnitude(low), magnitude(high)));
  }
  return alternatives(all);
}

std::optional<Decimal> Decimal::of(double value) {
  if (!(std::abs(value) <= static_cast<double>(kMostOf15Digits))) return std::nullopt;
  std::string text = fmt::format("{:.{}f}", std::abs(value), kMaxFraction);
  text.erase(text.find_last_not_of('0') + 1);
  double back = 0;
  std::from_chars(text.data(), text.data() + text.size(), back);
  if (back != std::abs(value)) return std::nullopt;
  const size_t point = text.find('.');
  Decimal decimal;
  decimal.is_negative_ = value < 0;
  std::from_chars(text.data(), text.data() + point, decimal.whole_);
  decimal.fraction_ = text.substr(point + 1);
  return decimal;
}

Result<std::optional<std::string>> number_regex(const NumberBounds& bounds) {
  if (!bounds.min && !bounds.max) {
    return std::optional<std::string>(unbounded_number(bounds.n_fraction));
  }
  VARVE_TRY(const size_t n_fraction, fraction_digits(bounds));
  const Bound most = {kMostOf15Digits, "", false};
  const auto min = bounds.min;
  const auto max = bounds.max;
  std::vector<std::string> all;
  if (!min || min->is_negative()) {
    // As magnitudes the bounds change places; zero is left to the others.
    const Bound low = max && max->is_negative() ? bound_of(*max, bounds.is_below_max)
                                                : Bound{.whole = 0, .fraction = "", .is_out = true};
    const Bound high = min ? bound_of(*min, bounds.is_above_min) : most;
    const auto text = magnitude_regex(low, high, n_fraction);
    if (text) all.push_back("-" + *text);
  }
  if (!max || !max->is_negative()) {
    const Bound low = min && !min->is_negative()
                          ? bound_of(*min, bounds.is_above_min)
                          : Bound{.whole = 0, .fraction = "", .is_out = false};
    const Bound high = max ? bound_of(*max, bounds.is_below_max) : most;
    const auto text = magnitude_regex(low, high, n_fraction);
    if (text) all.push_back(*text);
  }
  if (all.empty()) return std::optional<std::string>();
  return std::optional<std::string>(alternatives(all));
}

}  // namespace varve
