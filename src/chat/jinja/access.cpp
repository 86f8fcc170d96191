#include "chat/jinja/access.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "chat/jinja/methods.h"
#include "chat/jinja/text.h"
#include "tokenizer/utf8.h"

namespace varve::jinja {
namespace {

tl::unexpected<Error> of_nothing(const Value& value, std::string_view what) {
  return bad_input("`{}` is asked of {}", what, value.describe());
}

std::optional<Value> loop_attribute(const Loop& loop, std::string_view name) {
  const std::vector<Value>& items = loop.items->items;
  const auto at = static_cast<int64_t>(loop.at);
  const auto n = static_cast<int64_t>(items.size());
  if (name == "index") return Value(at + 1);
  if (name == "index0") return Value(at);
  if (name == "revindex") return Value(n - at);
  if (name == "revindex0") return Value(n - at - 1);
  if (name == "first") return Value(at == 0);
  if (name == "last") return Value(at + 1 == n);
  if (name == "length") return Value(n);
  // Loops that call themselves are not known here, so none is deeper.
  if (name == "depth") return Value(int64_t{1});
  if (name == "depth0") return Value(int64_t{0});
  if (name == "previtem") return at > 0 ? items[loop.at - 1] : Value::undefined("loop.previtem");
  if (name == "nextitem")
    return at + 1 < n ? items[loop.at + 1] : Value::undefined("loop.nextitem");
  return std::nullopt;
}

// The item of a string or list at a place that may count from the end.
Result<Value> at_index(const Value& value, int64_t index, Budget& budget) {
  const Value nothing = Value::undefined(fmt::format("[{}]", index));
  if (const std::string* const text = value.text()) {
    VARVE_CHECKED(budget.take_bytes(text->size()));
    const auto n = static_cast<int64_t>(n_characters(*text));
    if (index < -n || index >= n) return nothing;
    const size_t at = byte_of_character(*text, static_cast<size_t>(index < 0 ? index + n : index));
    return Value::text(text->substr(at, utf8_step(std::string_view(*text).substr(at)).n_bytes));
  }
  const List* const list = value.list();
  if (list == nullptr || list->kind == ListKind::view || list->kind == ListKind::generator) {
    return nothing;
  }
  const auto n = static_cast<int64_t>(list->items.size());
  if (index < -n || index >= n) return nothing;
  return list->items[static_cast<size_t>(index < 0 ? index + n : index)];
}

Result<const Value*> entry(const Dict& dict, const Value& key, Budget& budget) {
  VARVE_CHECKED(budget.take(static_cast<int64_t>(dict.entries.size() / 16)));
  return dict.find(key);
}

}  // namespace

Result<Value> attribute(const Value& value, std::string_view name, Budget& budget) {
  if (value.is_undefined()) return of_nothing(value, name);
  if (const MethodInfo* const info = find_method(value, name)) return Value::method(value, *info);
  if (const Dict* const dict = value.dict()) {
    VARVE_TRY(const Value* const found, entry(*dict, Value::text(std::string(name)), budget));
    if (found != nullptr) return *found;
  }
  if (const Namespace* const space = value.name_space()) {
    const auto found = space->attributes.find(name);
    if (found != space->attributes.end()) return found->second;
  }
  if (const Loop* const loop = value.loop()) {
    if (std::optional<Value> found = loop_attribute(*loop, name)) return *std::move(found);
  }
  return Value::undefined(name);
}

Result<Value> item(const Value& value, const Value& key, Budget& budget) {
  const std::string* const name = key.text();
  if (value.is_undefined()) return of_nothing(value, name != nullptr ? *name : "[]");
  if (const Dict* const dict = value.dict()) {
    VARVE_TRY(const Value* const found, entry(*dict, key, budget));
    if (found != nullptr) return *found;
  }
  if (name != nullptr) return attribute(value, *name, budget);
  int64_t storage = 0;
  const int64_t* const index = key.integer(storage);
  if (index == nullptr) return Value::undefined(fmt::format("[{}]", key.describe()));
  return at_index(value, *index, budget);
}

Result<Value> item_at_path(const Value& value, std::string_view path, Budget& budget) {
  Value at = value;
  while (true) {
    const size_t end = std::min(path.find('.'), path.size());
    const std::string_view part = path.substr(0, end);
    int64_t index = 0;
    const auto [stop, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_index = !part.empty() && part[0] != '-' && error == std::errc() &&
                          stop == part.data() + part.size();
    VARVE_TRY(at, item(at, is_index ? Value(index) : Value::text(std::string(part)), budget));
    if (end == path.size()) return at;
    path.remove_prefix(end + 1);
  }
}

}  // namespace varve::jinja
