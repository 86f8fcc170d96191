// JSON to values and back, as Python's json module does both.
#pragma once

#include <string>
#include <string_view>

#include "chat/jinja/budget.h"
#include "chat/jinja/value.h"

namespace varve::jinja {

/// Errors (bad_input) begin with `name`: not JSON, nested too deep, an integer beyond 64 bits.
Result<Value> from_json(std::string_view json, const std::string& name);

/// The arguments of json.dumps.
struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::string indent;  // of one level; used where is_indented
  bool is_indented = false;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

/// Error: a value that JSON does not have (undefined, functions).
Result<std::string> to_json(const Value& value, const JsonStyle& style, Budget& budget);

}  // namespace varve::jinja
