// Filters: value | name(arguments).
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "chat/jinja/arguments.h"
#include "chat/jinja/budget.h"
#include "chat/jinja/value.h"

namespace varve::jinja {

struct FilterInfo {
  std::string_view name;
  Parameters parameters;
  /// The arguments are bound to the parameters, but where those are "*".
  Result<Value> (*call)(const Value& input, const Arguments& arguments, Budget& budget);
};

/// Null where there is none.
const FilterInfo* find_filter(std::string_view name);
std::string filter_names();

/// Binds the arguments and calls the filter.
Result<Value> apply(const FilterInfo& filter, const Value& input, Arguments arguments,
                    Budget& budget);

// The tables, by file.
std::span<const FilterInfo> text_filters();
std::span<const FilterInfo> sequence_filters();
std::span<const FilterInfo> selecting_filters();

}  // namespace varve::jinja
