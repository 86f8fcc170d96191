// Tests: value is name(arguments).
#pragma once

#include <string>
#include <string_view>

#include "chat/jinja/arguments.h"
#include "chat/jinja/budget.h"
#include "chat/jinja/value.h"

namespace varve::jinja {

struct TestInfo {
  std::string_view name;
  Parameters parameters;
  Result<bool> (*call)(const Value& value, const std::vector<Value>& arguments, Budget& budget);
};

/// Null where there is none.
const TestInfo* find_test(std::string_view name);
std::string test_names();

Result<bool> apply(const TestInfo& test, const Value& value, Arguments arguments, Budget& budget);

}  // namespace varve::jinja
