#include "chat/jinja/functions.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "chat/jinja/operators.h"

namespace varve::jinja {
namespace {

// As the sandbox of jinja2 has it.
constexpr int64_t kMaxRange = 100'000;

constexpr size_t kMaxDateBytes = 1024;

// A namespace lives until the rendering ends.
constexpr int64_t kStepsOfNamespace = 64;

Result<Value> range_function(const Arguments& arguments, Environment& environment) {
  VARVE_TRY(const std::vector<Value> bound, bind("range", {"start stop step", 1}, arguments));
  std::array<int64_t, 3> numbers = {0, 0, 1};
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (bound[i].is_undefined()) continue;
    int64_t storage = 0;
    const int64_t* const n = bound[i].integer(storage);
    if (n == nullptr) return bad_input("`range` expects integers, found {}", bound[i].describe());
    numbers[i] = *n;
  }
  auto [start, stop, step] = numbers;
  if (bound[1].is_undefined()) {
    stop = start;
    start = 0;
  }
  if (step == 0) return bad_input("`range` has a step of 0");
  std::vector<Value> items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (static_cast<int64_t>(items.size()) == kMaxRange) {
      return bad_input("`range` makes more than {} numbers", kMaxRange);
    }
    items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  VARVE_CHECKED(environment.budget.take(static_cast<int64_t>(items.size())));
  return make_list(std::move(items), ListKind::view);
}

// The entries of a dictionary given in front, then the named arguments.
Result<std::vector<std::pair<Value, Value>>> entries_of(std::string_view function,
                                                        const Arguments& arguments,
                                                        Budget& budget) {
  std::vector<std::pair<Value, Value>> entries;
  if (arguments.positional.size() > 1 ||
      (arguments.positional.size() == 1 && arguments.positional[0].dict() == nullptr)) {
    return bad_input("`{}` takes a dictionary and named arguments", function);
  }
  if (!arguments.positional.empty()) entries = arguments.positional[0].dict()->entries;
  for (const auto& [name, value] : arguments.named) {
    entries.emplace_back(Value::text(std::string(name)), value);
  }
  VARVE_CHECKED(budget.take(static_cast<int64_t>(entries.size())));
  return entries;
}

Result<Value> dict_function(const Arguments& arguments, Environment& environment) {
  VARVE_TRY(auto entries, entries_of("dict", arguments, environment.budget));
  return make_dict(std::move(entries));
}

Result<Value> namespace_function(const Arguments& arguments, Environment& environment) {
  VARVE_TRY(const auto entries, entries_of("namespace", arguments, environment.budget));
  VARVE_CHECKED(environment.budget.take(kStepsOfNamespace));
  auto space = std::make_unique<Namespace>();
  for (const auto& [key, value] : entries) {
    VARVE_TRY(const std::string name, to_text(key, environment.budget));
    space->set(name, value);
  }
  environment.namespaces.push_back(std::move(space));
  return Value(environment.namespaces.back().get());
}

Result<Value> raise_exception_function(const Arguments& arguments, Environment& environment) {
  VARVE_TRY(const std::vector<Value> bound, bind("raise_exception", {"message", 1}, arguments));
  VARVE_TRY(const std::string message, to_text(bound[0], environment.budget));
  return bad_input("the template refuses this conversation: {}", message);
}

Result<Value> strftime_now_function(const Arguments& arguments, Environment& environment) {
  VARVE_TRY(const std::vector<Value> bound, bind("strftime_now", {"format", 1}, arguments));
  const std::string* const format = bound[0].text();
  if (format == nullptr || format->find('\0') != std::string::npos) {
    return bad_input("`strftime_now` expects a format, found {}", bound[0].describe());
  }
  if (format->empty()) return Value::text("");
  std::tm local = {};
  if (localtime_r(&environment.now, &local) == nullptr) {
    return bad_input("`strftime_now`: the system's date cannot be told");
  }
  std::array<char, kMaxDateBytes> buffer;
  const size_t n = std::strftime(buffer.data(), buffer.size(), format->c_str(), &local);
  if (n == 0) return bad_input("`strftime_now` makes no text of this format, or too much");
  return Value::text(std::string(buffer.data(), n));
}

constexpr FunctionInfo kFunctions[] = {
    {"range", range_function},
    {"dict", dict_function},
    {"namespace", namespace_function},
    {"raise_exception", raise_exception_function},
    {"strftime_now", strftime_now_function},
};

}  // namespace

const FunctionInfo* find_function(std::string_view name) {
  const auto* const found =
      std::find_if(std::begin(kFunctions), std::end(kFunctions),
                   [&](const FunctionInfo& function) { return function.name == name; });
  return found == std::end(kFunctions) ? nullptr : found;
}

}  // namespace varve::jinja
