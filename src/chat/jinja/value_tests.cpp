#include "chat/jinja/value_tests.h"

#include <algorithm>
#include <iterator>

#include "chat/jinja/filters.h"
#include "chat/jinja/operators.h"
#include "chat/jinja/text.h"

namespace varve::jinja {
namespace {

using Args = std::vector<Value>;

// A test that looks at the value alone.
template <bool (*holds)(const Value&)>
Result<bool> plain(const Value& value, const Args&, Budget&) {
  return holds(value);
}

bool is_defined(const Value& value) {
  return !value.is_undefined();
}
bool is_undefined(const Value& value) {
  return value.is_undefined();
}
bool is_none(const Value& value) {
  return value.is_none();
}
bool is_string(const Value& value) {
  return value.text() != nullptr;
}
bool is_mapping(const Value& value) {
  return value.dict() != nullptr;
}
bool is_iterable(const Value& value) {
  return value.is_undefined() || value.text() != nullptr || value.list() != nullptr ||
         value.dict() != nullptr || value.loop() != nullptr;
}
// What has a length and an index: dictionaries too, and what is undefined.
bool is_sequence(const Value& value) {
  const List* const list = value.list();
  const bool is_indexed =
      list != nullptr && (list->kind == ListKind::list || list->kind == ListKind::tuple);
  return is_indexed || value.text() != nullptr || value.dict() != nullptr || value.is_undefined();
}
bool is_boolean(const Value& value) {
  return value.as<bool>() != nullptr;
}
bool is_true(const Value& value) {
  return is_boolean(value) && value.truth();
}
bool is_false(const Value& value) {
  return is_boolean(value) && !value.truth();
}
bool is_number(const Value& value) {
  double unused = 0;
  return value.number(unused);
}
bool is_integer(const Value& value) {
  return value.as<int64_t>() != nullptr;
}
bool is_float(const Value& value) {
  return value.as<double>() != nullptr;
}
bool is_callable(const Value& value) {
  return value.is_callable();
}
bool is_known_filter(const Value& value) {
  return value.text() != nullptr && find_filter(*value.text()) != nullptr;
}
bool is_known_test(const Value& value) {
  return value.text() != nullptr && find_test(*value.text()) != nullptr;
}

template <CompareOp op>
Result<bool> compared(const Value& value, const Args& args, Budget& budget) {
  return compare(op, value, args[0], budget);
}

Result<bool> same_as(const Value& value, const Args& args, Budget& budget) {
  // Of what templates compare so (none, true, false) there is one each.
  if (value.is_none() || args[0].is_none()) return value.is_none() && args[0].is_none();
  if (is_boolean(value) || is_boolean(args[0])) {
    return is_boolean(value) && is_boolean(args[0]) && value.truth() == args[0].truth();
  }
  return equal(value, args[0], budget);
}

Result<int64_t> integer_of(const Value& value) {
  int64_t storage = 0;
  if (const int64_t* const n = value.integer(storage)) return *n;
  return bad_input("expected an integer, found {}", value.describe());
}

Result<bool> divisible_by(const Value& value, const Args& args, Budget&) {
  VARVE_TRY(const int64_t n, integer_of(value));
  VARVE_TRY(const int64_t divisor, integer_of(args[0]));
  if (divisor == 0) return bad_input("division by zero");
  return divisor == -1 || n % divisor == 0;
}

template <bool odd>
Result<bool> parity(const Value& value, const Args&, Budget&) {
  VARVE_TRY(const int64_t n, integer_of(value));
  return (n % 2 != 0) == odd;
}

// True where there are letters and all of them have this case.
template <bool upper_case>
Result<bool> has_case(const Value& value, const Args&, Budget& budget) {
  VARVE_TRY(const std::string text, to_text(value, budget));
  VARVE_TRY(const std::string raised, upper(text));
  VARVE_TRY(const std::string lowered, lower(text));
  return raised != lowered && text == (upper_case ? raised : lowered);
}

constexpr TestInfo kTests[] = {
    {"defined", {}, plain<is_defined>},
    {"undefined", {}, plain<is_undefined>},
    {"none", {}, plain<is_none>},
    {"string", {}, plain<is_string>},
    {"mapping", {}, plain<is_mapping>},
    {"iterable", {}, plain<is_iterable>},
    {"sequence", {}, plain<is_sequence>},
    {"boolean", {}, plain<is_boolean>},
    {"true", {}, plain<is_true>},
    {"false", {}, plain<is_false>},
    {"number", {}, plain<is_number>},
    {"integer", {}, plain<is_integer>},
    {"float", {}, plain<is_float>},
    {"callable", {}, plain<is_callable>},
    {"filter", {}, plain<is_known_filter>},
    {"test", {}, plain<is_known_test>},
    {"upper", {}, has_case<true>},
    {"lower", {}, has_case<false>},
    {"odd", {}, parity<true>},
    {"even", {}, parity<false>},
    {"divisibleby", {"num", 1}, divisible_by},
    {"sameas", {"other", 1}, same_as},
    {"in", {"seq", 1}, compared<CompareOp::in>},
    {"eq", {"other", 1}, compared<CompareOp::equal>},
    {"equalto", {"other", 1}, compared<CompareOp::equal>},
    {"==", {"other", 1}, compared<CompareOp::equal>},
    {"ne", {"other", 1}, compared<CompareOp::unequal>},
    {"!=", {"other", 1}, compared<CompareOp::unequal>},
    {"lt", {"other", 1}, compared<CompareOp::less>},
    {"lessthan", {"other", 1}, compared<CompareOp::less>},
    {"<", {"other", 1}, compared<CompareOp::less>},
    {"le", {"other", 1}, compared<CompareOp::less_equal>},
    {"<=", {"other", 1}, compared<CompareOp::less_equal>},
    {"gt", {"other", 1}, compared<CompareOp::greater>},
    {"greaterthan", {"other", 1}, compared<CompareOp::greater>},
    {">", {"other", 1}, compared<CompareOp::greater>},
    {"ge", {"other", 1}, compared<CompareOp::greater_equal>},
    {">=", {"other", 1}, compared<CompareOp::greater_equal>},
};

}  // namespace

const TestInfo* find_test(std::string_view name) {
  const auto* const found = std::find_if(std::begin(kTests), std::end(kTests),
                                         [&](const TestInfo& test) { return test.name == name; });
  return found == std::end(kTests) ? nullptr : found;
}

std::string test_names() {
  return names_of(kTests);
}

Result<bool> apply(const TestInfo& test, const Value& value, Arguments arguments, Budget& budget) {
  VARVE_CHECKED(budget.take(1));
  VARVE_TRY(const std::vector<Value> bound, bind(test.name, test.parameters, std::move(arguments)));
  return test.call(value, bound, budget);
}

}  // namespace varve::jinja
