// What operators, str() and comparisons do with values.
#pragma once

#include <string>
#include <string_view>

#include "chat/jinja/budget.h"
#include "chat/jinja/value.h"

namespace varve::jinja {

enum class ArithmeticOp { add, subtract, multiply, divide, floor_divide, modulo, power };
enum class CompareOp { equal, unequal, less, less_equal, greater, greater_equal, in, not_in };

Result<Value> arithmetic(ArithmeticOp op, const Value& left, const Value& right, Budget& budget);
Result<Value> negated(const Value& value);
Result<bool> compare(CompareOp op, const Value& left, const Value& right, Budget& budget);

Result<bool> equal(const Value& left, const Value& right, Budget& budget);
/// left < right of numbers, strings and lists. Error: no order between the two.
Result<bool> less(const Value& left, const Value& right, Budget& budget);
/// `part in whole`.
Result<bool> contains(const Value& whole, const Value& part, Budget& budget);

/// str(value): what printing shows. Errors: values that no template prints on purpose (functions,
/// namespaces, generators).
Result<std::string> to_text(const Value& value, Budget& budget);

/// What a for statement goes through: items, characters, keys. Undefined has none. Error: not
/// iterable.
Result<std::vector<Value>> items_of(const Value& value, Budget& budget);

/// value[begin:end:step] of a list or a string; each bound is an integer, none or undefined.
Result<Value> slice(const Value& value, const Value& begin, const Value& end, const Value& step,
                    Budget& budget);

}  // namespace varve::jinja
