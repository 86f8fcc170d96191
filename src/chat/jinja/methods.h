// Methods of strings, dictionaries, lists and `loop`.
#pragma once

#include <string>
#include <string_view>

#include "chat/jinja/arguments.h"
#include "chat/jinja/budget.h"
#include "chat/jinja/value.h"

namespace varve::jinja {

struct MethodInfo {
  std::string_view name;
  Parameters parameters;
  Result<Value> (*call)(const Value& receiver, const std::vector<Value>& arguments, Budget& budget);
};

/// Null where the value's type has no such method.
const MethodInfo* find_method(const Value& value, std::string_view name);

/// The methods of the value's type, for messages; empty where it has none.
std::string method_names(const Value& value);

}  // namespace varve::jinja
