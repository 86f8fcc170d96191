// Functions that every template may call: range, dict, namespace, and what Hugging Face adds.
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "chat/jinja/arguments.h"
#include "chat/jinja/budget.h"
#include "chat/jinja/value.h"

namespace varve::jinja {

/// What a rendering has for itself.
struct Environment {
  Budget budget;
  std::time_t now = 0;  // of strftime_now
  std::vector<std::unique_ptr<Namespace>> namespaces;
};

struct FunctionInfo {
  std::string_view name;
  Result<Value> (*call)(const Arguments& arguments, Environment& environment);
};

/// Null where there is none.
const FunctionInfo* find_function(std::string_view name);

}  // namespace varve::jinja
