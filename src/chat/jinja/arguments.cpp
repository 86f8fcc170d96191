#include "chat/jinja/arguments.h"

#include <algorithm>

namespace varve::jinja {
namespace {

std::vector<std::string_view> split(std::string_view names) {
  std::vector<std::string_view> out;
  while (!names.empty()) {
    const size_t end = std::min(names.find(' '), names.size());
    out.push_back(names.substr(0, end));
    names.remove_prefix(std::min(end + 1, names.size()));
  }
  return out;
}

}  // namespace

Result<std::vector<Value>> bind(std::string_view function, const Parameters& parameters,
                                Arguments arguments) {
  if (parameters.names == "*") {
    if (arguments.named.empty()) return std::move(arguments.positional);
    return bad_input("`{}` has no argument `{}`", function, arguments.named[0].first);
  }
  const std::vector<std::string_view> names = split(parameters.names);
  std::vector<Value> bound = std::move(arguments.positional);
  if (bound.size() > names.size()) {
    return bad_input("`{}` takes at most {} arguments, found {}", function, names.size(),
                     bound.size());
  }
  std::vector<bool> given(names.size(), false);
  std::fill_n(given.begin(), bound.size(), true);
  bound.resize(names.size());
  for (auto& [name, value] : arguments.named) {
    const auto place = std::find(names.begin(), names.end(), name);
    const auto i = static_cast<size_t>(place - names.begin());
    if (place == names.end()) {
      return bad_input("`{}` has no argument `{}`; it has: {}", function, name, parameters.names);
    }
    if (given[i]) return bad_input("`{}` is given its argument `{}` twice", function, name);
    given[i] = true;
    bound[i] = std::move(value);
  }
  for (size_t i = 0; i < static_cast<size_t>(parameters.n_required); ++i) {
    if (!given[i]) return bad_input("`{}` needs an argument `{}`", function, names[i]);
  }
  return bound;
}

}  // namespace varve::jinja
