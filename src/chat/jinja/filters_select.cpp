// Filters that put every item through a test, a filter or an attribute.
#include "chat/jinja/access.h"
#include "chat/jinja/filters.h"
#include "chat/jinja/operators.h"
#include "chat/jinja/text.h"
#include "chat/jinja/value_tests.h"

namespace varve::jinja {
namespace {

// The positional arguments from `first` on, and all named ones.
Arguments rest_of(const Arguments& arguments, size_t first) {
  Arguments rest;
  for (size_t i = first; i < arguments.positional.size(); ++i) {
    rest.positional.push_back(arguments.positional[i]);
  }
  rest.named = arguments.named;
  return rest;
}

// Whether an item stays: by the test that arguments[first] names, or by its truth.
Result<bool> passes(const Value& value, const Arguments& arguments, size_t first, Budget& budget) {
  if (arguments.positional.size() <= first) return value.truth();
  const std::string* const name = arguments.positional[first].text();
  const TestInfo* const test = name == nullptr ? nullptr : find_test(*name);
  if (test == nullptr) {
    return bad_input("expected the name of a test, found {}; these run: {}",
                     name != nullptr ? text_repr(*name) : arguments.positional[first].describe(),
                     test_names());
  }
  return apply(*test, value, rest_of(arguments, first + 1), budget);
}

// As jinja2 has it, what is false has no items here, none and 0 too.
Result<std::vector<Value>> items_if_true(const Value& in, Budget& budget) {
  return in.truth() ? items_of(in, budget) : std::vector<Value>();
}

// select, reject: the items; selectattr, rejectattr: by an attribute of theirs.
template <bool keeps, bool by_attribute>
Result<Value> select_filter(const Value& in, const Arguments& args, Budget& budget) {
  if (by_attribute && (args.positional.empty() || args.positional[0].text() == nullptr)) {
    return bad_input("`{}` expects the name of an attribute", keeps ? "selectattr" : "rejectattr");
  }
  VARVE_TRY(const std::vector<Value> items, items_if_true(in, budget));
  std::vector<Value> kept;
  for (const Value& value : items) {
    Value judged = value;
    if (by_attribute) {
      VARVE_TRY(judged, item_at_path(value, *args.positional[0].text(), budget));
    }
    VARVE_TRY(const bool passed, passes(judged, args, by_attribute ? 1 : 0, budget));
    if (passed == keeps) kept.push_back(value);
  }
  return make_list(std::move(kept), ListKind::generator);
}

Result<Value> map_by_attribute(const std::vector<Value>& items, const Arguments& args,
                               Budget& budget) {
  const Value* path = nullptr;
  Value missing;
  for (const auto& [name, value] : args.named) {
    if (name == "attribute") {
      path = &value;
    } else if (name == "default") {
      missing = value;
    } else {
      return bad_input("`map` has no argument `{}`; it has: attribute default", name);
    }
  }
  if (path == nullptr || path->text() == nullptr) {
    return bad_input("`map` expects the name of a filter or of an attribute");
  }
  std::vector<Value> out;
  for (const Value& value : items) {
    VARVE_TRY(Value part, item_at_path(value, *path->text(), budget));
    out.push_back(part.is_undefined() && !missing.is_undefined() ? missing : std::move(part));
  }
  return make_list(std::move(out), ListKind::generator);
}

Result<Value> map_filter(const Value& in, const Arguments& args, Budget& budget) {
  VARVE_TRY(const std::vector<Value> items, items_if_true(in, budget));
  if (args.positional.empty()) return map_by_attribute(items, args, budget);
  const std::string* const name = args.positional[0].text();
  const FilterInfo* const filter = name == nullptr ? nullptr : find_filter(*name);
  // `map` within `map` would nest as deep as a template likes.
  if (filter == nullptr || filter->parameters.names == "*") {
    return bad_input("`map` does not take the filter {}",
                     name != nullptr ? text_repr(*name) : args.positional[0].describe());
  }
  std::vector<Value> out;
  for (const Value& value : items) {
    VARVE_TRY(Value made, apply(*filter, value, rest_of(args, 1), budget));
    out.push_back(std::move(made));
  }
  return make_list(std::move(out), ListKind::generator);
}

constexpr FilterInfo kFilters[] = {
    {"map", {"*"}, map_filter},
    {"select", {"*"}, select_filter<true, false>},
    {"reject", {"*"}, select_filter<false, false>},
    {"selectattr", {"*"}, select_filter<true, true>},
    {"rejectattr", {"*"}, select_filter<false, true>},
};

}  // namespace

std::span<const FilterInfo> selecting_filters() {
  return kFilters;
}

}  // namespace varve::jinja
