#include "chat/jinja/methods.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include "chat/jinja/operators.h"
#include "chat/jinja/split.h"
#include "chat/jinja/text.h"
#include "tokenizer/utf8.h"

namespace varve::jinja {
namespace {

using Args = std::vector<Value>;

Result<std::string_view> text_argument(const Value& value, std::string_view name) {
  if (const std::string* const text = value.text()) return std::string_view(*text);
  return bad_input("`{}` expects a string, found {}", name, value.describe());
}

Result<int64_t> integer_argument(const Value& value, int64_t missing, std::string_view name) {
  if (value.is_undefined() || value.is_none()) return missing;
  int64_t storage = 0;
  if (const int64_t* const n = value.integer(storage)) return *n;
  return bad_input("`{}` expects an integer, found {}", name, value.describe());
}

// ---- strings

template <Side side>
Result<Value> strip_method(const Value& self, const Args& args, Budget& budget) {
  VARVE_CHECKED(budget.take_bytes(self.text()->size()));
  std::optional<std::string_view> chars;
  if (!args[0].is_undefined() && !args[0].is_none()) {
    VARVE_TRY(chars, text_argument(args[0], "strip"));
    VARVE_CHECKED(budget.take_product(self.text()->size(), chars->size()));
  }
  return Value::text(std::string(strip(*self.text(), chars, side)));
}

template <Result<std::string> (*change)(std::string_view)>
Result<Value> case_method(const Value& self, const Args&, Budget& budget) {
  VARVE_CHECKED(budget.take_bytes(self.text()->size()));
  return change(*self.text()).map([](std::string text) { return Value::text(std::move(text)); });
}

// startswith and endswith: a string or a tuple of them.
template <bool at_start>
Result<Value> affix_method(const Value& self, const Args& args, Budget& budget) {
  const std::string_view text = *self.text();
  const auto matches = [&](std::string_view affix) {
    return at_start ? text.starts_with(affix) : text.ends_with(affix);
  };
  if (args[0].text() != nullptr) {
    VARVE_CHECKED(budget.take_bytes(args[0].text()->size()));
    return Value(matches(*args[0].text()));
  }
  const List* const affixes = args[0].list();
  if (affixes == nullptr || affixes->kind != ListKind::tuple) {
    return bad_input("`{}` expects a string or a tuple of strings, found {}",
                     at_start ? "startswith" : "endswith", args[0].describe());
  }
  for (const Value& item : affixes->items) {
    VARVE_TRY(const std::string_view affix, text_argument(item, "startswith"));
    VARVE_CHECKED(budget.take(1 + static_cast<int64_t>(affix.size() / 16)));
    if (matches(affix)) return Value(true);
  }
  return Value(false);
}

template <bool from_right>
Result<Value> split_method(const Value& self, const Args& args, Budget& budget) {
  VARVE_TRY(const int64_t max_splits, integer_argument(args[1], -1, "split"));
  std::optional<std::string_view> separator;
  if (!args[0].is_undefined() && !args[0].is_none()) {
    VARVE_TRY(separator, text_argument(args[0], "split"));
    if (separator->empty()) return bad_input("`split` expects a separator, found an empty string");
  }
  VARVE_TRY(const Parts parts, from_right ? rsplit(*self.text(), separator, max_splits, budget)
                                          : split(*self.text(), separator, max_splits, budget));
  return texts(parts);
}

Result<Value> splitlines_method(const Value& self, const Args& args, Budget& budget) {
  VARVE_TRY(const Parts lines, split_lines(*self.text(), args[0].truth(), budget));
  return texts(lines);
}

Result<Value> replace_method(const Value& self, const Args& args, Budget& budget) {
  VARVE_TRY(const std::string_view from, text_argument(args[0], "replace"));
  VARVE_TRY(const std::string_view to, text_argument(args[1], "replace"));
  VARVE_TRY(const int64_t count, integer_argument(args[2], -1, "replace"));
  VARVE_TRY(std::string text, replace(*self.text(), from, to, count, budget));
  return Value::text(std::move(text));
}

Result<Value> find_method_of_text(const Value& self, const Args& args, Budget& budget) {
  VARVE_TRY(const std::string_view part, text_argument(args[0], "find"));
  VARVE_CHECKED(budget.take_bytes(self.text()->size() + part.size()));
  const size_t found = find_text(*self.text(), part);
  if (found == std::string::npos) return Value(int64_t{-1});
  return Value(static_cast<int64_t>(n_characters(self.text()->substr(0, found))));
}

Result<Value> rfind_method(const Value& self, const Args& args, Budget& budget) {
  VARVE_TRY(const std::string_view part, text_argument(args[0], "rfind"));
  VARVE_CHECKED(budget.take_product(self.text()->size(), part.size()));
  const size_t found = self.text()->rfind(part);
  if (found == std::string::npos) return Value(int64_t{-1});
  return Value(static_cast<int64_t>(n_characters(self.text()->substr(0, found))));
}

Result<Value> count_in_text(const Value& self, const Args& args, Budget& budget) {
  VARVE_TRY(const std::string_view part, text_argument(args[0], "count"));
  VARVE_CHECKED(budget.take(static_cast<int64_t>(self.text()->size())));
  if (part.empty()) return Value(static_cast<int64_t>(n_characters(*self.text()) + 1));
  int64_t n = 0;
  size_t at = 0;
  while ((at = find_text(*self.text(), part, at)) != std::string::npos) {
    at += part.size();
    ++n;
  }
  return Value(n);
}

Result<Value> join_method(const Value& self, const Args& args, Budget& budget) {
  VARVE_TRY(const std::vector<Value> items, items_of(args[0], budget));
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    VARVE_TRY(const std::string_view text, text_argument(items[i], "join"));
    VARVE_CHECKED(budget.make_bytes(text.size() + self.text()->size()));
    if (i > 0) out += *self.text();
    out += text;
  }
  return Value::text(std::move(out));
}

// isdigit and its kin: true where the text is not empty and each character is one. Of characters
// beyond ASCII only white space is known; others are refused where it matters.
template <bool (*is_kind)(uint32_t)>
Result<Value> kind_method(const Value& self, const Args&, Budget& budget) {
  VARVE_CHECKED(budget.take_bytes(self.text()->size()));
  for (const std::string_view character : characters(*self.text())) {
    const uint32_t c = utf8_step(character).code_point;
    if (!is_kind(c)) {
      if (c >= 0x80 && is_kind != is_space && !is_space(c)) {
        return bad_input("kinds of characters are known for ASCII only, found {}",
                         text_repr(character));
      }
      return Value(false);
    }
  }
  return Value(!self.text()->empty());
}

bool is_digit(uint32_t c) {
  return c >= '0' && c <= '9';
}
bool is_alpha(uint32_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_alnum(uint32_t c) {
  return is_digit(c) || is_alpha(c);
}

template <bool at_start>
Result<Value> remove_affix(const Value& self, const Args& args, Budget& budget) {
  VARVE_TRY(const std::string_view affix, text_argument(args[0], "removeprefix"));
  std::string_view text = *self.text();
  VARVE_CHECKED(budget.take_bytes(text.size()));
  if (at_start && text.starts_with(affix)) text.remove_prefix(affix.size());
  if (!at_start && text.ends_with(affix)) text.remove_suffix(affix.size());
  return Value::text(std::string(text));
}

constexpr MethodInfo kTextMethods[] = {
    {"strip", {"chars"}, strip_method<Side::both>},
    {"lstrip", {"chars"}, strip_method<Side::left>},
    {"rstrip", {"chars"}, strip_method<Side::right>},
    {"split", {"sep maxsplit"}, split_method<false>},
    {"rsplit", {"sep maxsplit"}, split_method<true>},
    {"splitlines", {"keepends"}, splitlines_method},
    {"startswith", {"prefix", 1}, affix_method<true>},
    {"endswith", {"suffix", 1}, affix_method<false>},
    {"upper", {}, case_method<upper>},
    {"lower", {}, case_method<lower>},
    {"capitalize", {}, case_method<capitalize>},
    {"title", {}, case_method<title>},
    {"replace", {"old new count", 2}, replace_method},
    {"find", {"sub", 1}, find_method_of_text},
    {"rfind", {"sub", 1}, rfind_method},
    {"count", {"sub", 1}, count_in_text},
    {"join", {"iterable", 1}, join_method},
    {"isdigit", {}, kind_method<is_digit>},
    {"isalpha", {}, kind_method<is_alpha>},
    {"isalnum", {}, kind_method<is_alnum>},
    {"isspace", {}, kind_method<is_space>},
    {"removeprefix", {"prefix", 1}, remove_affix<true>},
    {"removesuffix", {"suffix", 1}, remove_affix<false>},
};

// ---- dictionaries, lists and loops

Result<Value> get_method(const Value& self, const Args& args, Budget& budget) {
  VARVE_CHECKED(budget.take(static_cast<int64_t>(self.dict()->entries.size() / 16)));
  if (const Value* const found = self.dict()->find(args[0])) return *found;
  return args[1].is_undefined() ? Value::none() : args[1];
}

Result<Value> items_method(const Value& self, const Args&, Budget& budget) {
  std::vector<Value> items;
  for (const auto& [key, value] : self.dict()->entries) {
    VARVE_CHECKED(budget.take(1));
    VARVE_TRY(Value pair, make_list({key, value}, ListKind::tuple));
    items.push_back(std::move(pair));
  }
  return make_list(std::move(items), ListKind::view);
}

Result<Value> keys_method(const Value& self, const Args&, Budget& budget) {
  VARVE_TRY(std::vector<Value> keys, items_of(self, budget));
  return make_list(std::move(keys), ListKind::view);
}

Result<Value> values_method(const Value& self, const Args&, Budget& budget) {
  VARVE_CHECKED(budget.take(static_cast<int64_t>(self.dict()->entries.size() / 16)));
  std::vector<Value> values;
  for (const auto& entry : self.dict()->entries) values.push_back(entry.second);
  return make_list(std::move(values), ListKind::view);
}

Result<Value> copy_method(const Value& self, const Args&, Budget&) {
  return self;  // nothing changes, so one will do
}

constexpr MethodInfo kDictMethods[] = {
    {"get", {"key default", 1}, get_method}, {"items", {}, items_method}, {"keys", {}, keys_method},
    {"values", {}, values_method},           {"copy", {}, copy_method},
};

Result<Value> count_in_list(const Value& self, const Args& args, Budget& budget) {
  int64_t n = 0;
  for (const Value& item : self.list()->items) {
    VARVE_TRY(const bool same, equal(item, args[0], budget));
    n += same ? 1 : 0;
  }
  return Value(n);
}

Result<Value> index_method(const Value& self, const Args& args, Budget& budget) {
  for (size_t i = 0; i < self.list()->items.size(); ++i) {
    VARVE_TRY(const bool same, equal(self.list()->items[i], args[0], budget));
    if (same) return Value(static_cast<int64_t>(i));
  }
  return bad_input("`index` finds no such item in the list");
}

constexpr MethodInfo kListMethods[] = {
    {"count", {"value", 1}, count_in_list},
    {"index", {"value", 1}, index_method},
    {"copy", {}, copy_method},
};

Result<Value> cycle_method(const Value& self, const Args& args, Budget&) {
  if (args.empty()) return bad_input("`cycle` needs an argument");
  return args[self.loop()->at % args.size()];
}

constexpr MethodInfo kLoopMethods[] = {{"cycle", {"*"}, cycle_method}};

std::span<const MethodInfo> methods_of(const Value& value) {
  if (value.text() != nullptr) return kTextMethods;
  if (value.dict() != nullptr) return kDictMethods;
  if (value.loop() != nullptr) return kLoopMethods;
  const List* const list = value.list();
  if (list != nullptr && (list->kind == ListKind::list || list->kind == ListKind::tuple)) {
    return kListMethods;
  }
  return {};
}

}  // namespace

const MethodInfo* find_method(const Value& value, std::string_view name) {
  const std::span<const MethodInfo> methods = methods_of(value);
  const auto found = std::find_if(methods.begin(), methods.end(),
                                  [&](const MethodInfo& info) { return info.name == name; });
  return found == methods.end() ? nullptr : &*found;
}

std::string method_names(const Value& value) {
  return names_of(methods_of(value));
}

}  // namespace varve::jinja
