// Arguments of a call of a filter, test, method or function.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "chat/jinja/value.h"

namespace varve::jinja {

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> named;
};

/// What a function takes: names in their order, the first `n_required` of which have to be given.
struct Parameters {
  std::string_view names;  // separated by single spaces; "*": any number, unnamed
  int n_required = 0;
};

/// The arguments by parameter; undefined where one is left out. Errors: one too many, an unknown
/// name, a missing one.
Result<std::vector<Value>> bind(std::string_view function, const Parameters& parameters,
                                Arguments arguments);

/// "a, b, c" of the names of a table, for messages.
template <class Table>
std::string names_of(const Table& table) {
  std::string names;
  for (const auto& entry : table) {
    if (!names.empty()) names += ", ";
    names += entry.name;
  }
  return names;
}

}  // namespace varve::jinja
