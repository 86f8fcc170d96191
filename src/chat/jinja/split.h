// Cutting strings up and putting other parts in, as Python's methods do.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chat/jinja/budget.h"
#include "chat/jinja/value.h"

namespace varve::jinja {

using Parts = std::vector<std::string_view>;

/// str.split and str.rsplit: at `separator`, or at runs of white space; at most `max_splits` times
/// where that is not negative. The separator must not be empty.
Result<Parts> split(std::string_view text, std::optional<std::string_view> separator,
                    int64_t max_splits, Budget& budget);
Result<Parts> rsplit(std::string_view text, std::optional<std::string_view> separator,
                     int64_t max_splits, Budget& budget);

Result<Parts> split_lines(std::string_view text, bool keep_ends, Budget& budget);

/// str.replace; all of them where `count` is negative.
Result<std::string> replace(std::string_view text, std::string_view from, std::string_view to,
                            int64_t count, Budget& budget);

/// A list of strings.
Result<Value> texts(const Parts& parts);

}  // namespace varve::jinja
