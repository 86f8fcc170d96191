#include "chat/jinja/filters.h"

#include <array>

namespace varve::jinja {
namespace {

std::array<std::span<const FilterInfo>, 3> tables() {
  return {text_filters(), sequence_filters(), selecting_filters()};
}

}  // namespace

const FilterInfo* find_filter(std::string_view name) {
  for (const std::span<const FilterInfo> table : tables()) {
    for (const FilterInfo& filter : table) {
      if (filter.name == name) return &filter;
    }
  }
  return nullptr;
}

std::string filter_names() {
  std::string names;
  for (const std::span<const FilterInfo> table : tables()) {
    names += (names.empty() ? "" : ", ") + names_of(table);
  }
  return names;
}

Result<Value> apply(const FilterInfo& filter, const Value& input, Arguments arguments,
                    Budget& budget) {
  VARVE_CHECKED(budget.take(1));
  if (filter.parameters.names != "*") {
    VARVE_TRY(std::vector<Value> bound, bind(filter.name, filter.parameters, std::move(arguments)));
    arguments = {std::move(bound), {}};
  }
  return filter.call(input, arguments, budget);
}

}  // namespace varve::jinja
