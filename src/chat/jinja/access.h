// value.name and value[key].
#pragma once

#include <string_view>

#include "chat/jinja/budget.h"
#include "chat/jinja/value.h"

namespace varve::jinja {

/// Methods first, then entries of a dictionary; undefined where there is neither. Error: an
/// attribute of what is undefined.
Result<Value> attribute(const Value& value, std::string_view name, Budget& budget);

/// Entries first, then methods.
Result<Value> item(const Value& value, const Value& key, Budget& budget);

/// item() along a path "a.b.0".
Result<Value> item_at_path(const Value& value, std::string_view path, Budget& budget);

}  // namespace varve::jinja
