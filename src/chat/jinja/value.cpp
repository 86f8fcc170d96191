#include "chat/jinja/value.h"

#include <algorithm>
#include <unordered_map>

#include "chat/jinja/text.h"

namespace varve::jinja {
namespace {

// Equal for keys that Python takes for the same: 1, 1.0 and True are one key.
std::string key_spelling(const Value& key) {
  if (const std::string* const text = key.text()) return "s" + *text;
  double number = 0;
  int64_t storage = 0;
  if (const int64_t* const integer = key.integer(storage)) return fmt::format("n{}", *integer);
  if (key.number(number)) return "n" + (number == 0 ? "0" : fmt::format("{}", number));
  return "o";  // none
}

bool can_be_key(const Value& key) {
  double number = 0;
  return key.text() != nullptr || key.is_none() || key.number(number);
}

}  // namespace

Value Value::undefined(std::string_view name) {
  return Value(Undefined{std::make_shared<const Text>(Text{std::string(name)})});
}

Value Value::text(std::string bytes, bool is_markup) {
  return Value(std::make_shared<const Text>(Text{std::move(bytes), is_markup}));
}

Value Value::method(Value receiver, const MethodInfo& info) {
  return Value(std::make_shared<const Method>(Method{std::move(receiver), &info}));
}

const std::string* Value::text() const {
  const Text* const text = pointee<Text>();
  return text == nullptr ? nullptr : &text->bytes;
}

bool Value::is_markup() const {
  const Text* const text = pointee<Text>();
  return text != nullptr && text->is_markup;
}

Namespace* Value::name_space() const {
  Namespace* const* const found = as<Namespace*>();
  return found == nullptr ? nullptr : *found;
}

bool Value::is_callable() const {
  return method() != nullptr || as<const MacroStatement*>() != nullptr ||
         as<const FunctionInfo*>() != nullptr;
}

const int64_t* Value::integer(int64_t& storage) const {
  if (const bool* const flag = as<bool>()) {
    storage = *flag ? 1 : 0;
    return &storage;
  }
  return as<int64_t>();
}

bool Value::number(double& out) const {
  int64_t storage = 0;
  if (const int64_t* const n = integer(storage)) {
    out = static_cast<double>(*n);
    return true;
  }
  if (const double* const real = as<double>()) {
    out = *real;
    return true;
  }
  return false;
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  double n = 0;
  if (number(n)) return n != 0;
  if (const std::string* const bytes = text()) return !bytes->empty();
  if (const List* const items = list()) {
    return items->kind == ListKind::generator || !items->items.empty();
  }
  if (const Dict* const entries = dict()) return !entries->entries.empty();
  return true;
}

std::string Value::describe() const {
  if (const Undefined* const nothing = as<Undefined>()) {
    if (nothing->name == nullptr) return "nothing";
    return fmt::format("nothing (`{}` is not defined)", nothing->name->bytes);
  }
  if (is_none()) return "none";
  if (as<bool>() != nullptr) return truth() ? "true" : "false";
  if (const int64_t* const n = as<int64_t>()) return fmt::format("the integer {}", *n);
  if (const double* const n = as<double>()) return "the number " + float_repr(*n);
  if (text() != nullptr) return "a string";
  if (const List* const items = list()) {
    return fmt::format("a list of {}", items->items.size());
  }
  if (const Dict* const entries = dict()) {
    return fmt::format("a dictionary of {}", entries->entries.size());
  }
  if (name_space() != nullptr) return "a namespace";
  if (loop() != nullptr) return "a loop";
  return "a function";
}

int Value::depth() const {
  if (const List* const items = list()) return items->depth;
  if (const Dict* const entries = dict()) return entries->depth;
  if (const Loop* const turn = loop()) return turn->items->depth + 1;
  if (const Method* const bound = method()) return bound->receiver.depth() + 1;
  return 0;
}

void Namespace::set(const std::string& name, Value value) {
  const auto [attribute, is_new] = attributes.insert_or_assign(name, std::move(value));
  if (is_new) held.add(kValueBytes + attribute->first.capacity());
}

const Value* Dict::find(std::string_view key) const {
  for (const auto& [name, value] : entries) {
    const std::string* const text = name.text();
    if (text != nullptr && *text == key) return &value;
  }
  return nullptr;
}

const Value* Dict::find(const Value& key) const {
  if (const std::string* const text = key.text()) return find(*text);
  if (!can_be_key(key)) return nullptr;
  const std::string spelling = key_spelling(key);
  for (const auto& [name, value] : entries) {
    if (key_spelling(name) == spelling) return &value;
  }
  return nullptr;
}

Result<Value> make_list(std::vector<Value> items, ListKind kind) {
  int depth = 1;
  for (const Value& item : items) depth = std::max(depth, item.depth() + 1);
  if (depth > kMaxValueDepth) {
    return bad_input("lists nest deeper than {}", kMaxValueDepth);
  }
  return Value(std::make_shared<const List>(List{std::move(items), kind, depth}));
}

Result<Value> make_dict(std::vector<std::pair<Value, Value>> entries) {
  std::vector<std::pair<Value, Value>> kept;
  int depth = 1;
  std::unordered_map<std::string, size_t> places;
  for (auto& [key, value] : entries) {
    if (!can_be_key(key)) {
      return bad_input("expected a string or number as a key, found {}", key.describe());
    }
    depth = std::max(depth, value.depth() + 1);
    const auto [place, is_new] = places.try_emplace(key_spelling(key), kept.size());
    if (is_new) {
      kept.emplace_back(std::move(key), std::move(value));
    } else {
      kept[place->second].second = std::move(value);
    }
  }
  if (depth > kMaxValueDepth) {
    return bad_input("dictionaries nest deeper than {}", kMaxValueDepth);
  }
  return Value(std::make_shared<const Dict>(Dict{std::move(kept), depth}));
}

}  // namespace varve::jinja
