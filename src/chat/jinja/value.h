// The values that a template computes with: Python's, as far as chat templates need them.
//
// Strings, lists and dictionaries never change once they are made (the sandbox that templates are
// written for forbids it too), so copies share them and no cycle can arise. Only a namespace
// changes; the renderer owns it, and values point at it.
#pragma once

#include <concepts>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"
#include "chat/jinja/held_bytes.h"

namespace varve::jinja {

class Value;
struct MacroStatement;  // ast.h
struct FunctionInfo;    // functions.h
struct MethodInfo;      // methods.h

/// Lists nest at most this deep: what walks them may recurse.
inline constexpr int kMaxValueDepth = 100;

/// Of a value's own memory, what it has in strings and vectors not counted.
inline constexpr size_t kValueBytes = 64;

struct Text;

/// What printing shows as nothing, what is false, and what has no attributes.
struct Undefined {
  std::shared_ptr<const Text> name;  // for messages; may be null
};
struct None {};

struct Text {
  std::string bytes;       // well-formed UTF-8
  bool is_markup = false;  // marked by `safe` or `escape`: what `+` joins to it is escaped
  HeldBytes held = HeldBytes(kValueBytes + bytes.capacity());
};

enum class ListKind {
  list,
  tuple,
  view,       // of dict.keys(), values(), items(): has a length, no index, and is not printed
  generator,  // of map, select and the like: true even when empty, no length, no index
};

struct List;
struct Dict;
struct Namespace;
struct Loop;
struct Method;

class Value {
 public:
  using Data = std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const Text>,
                            std::shared_ptr<const List>, std::shared_ptr<const Dict>, Namespace*,
                            std::shared_ptr<const Loop>, std::shared_ptr<const Method>,
                            const MacroStatement*, const FunctionInfo*>;

  Value() = default;  // undefined
  template <class T>
    requires std::constructible_from<Data, T>
  explicit Value(T data) : data_(std::move(data)) {}
  static Value none() { return Value(None()); }
  static Value undefined(std::string_view name);
  static Value text(std::string bytes, bool is_markup = false);
  static Value method(Value receiver, const MethodInfo& info);

  template <class T>
  const T* as() const {
    return std::get_if<T>(&data_);
  }
  bool is_undefined() const { return as<Undefined>() != nullptr; }
  bool is_none() const { return as<None>() != nullptr; }
  const std::string* text() const;
  const List* list() const { return pointee<List>(); }
  const Dict* dict() const { return pointee<Dict>(); }
  const Loop* loop() const { return pointee<Loop>(); }
  const Method* method() const { return pointee<Method>(); }
  Namespace* name_space() const;
  bool is_callable() const;
  bool is_markup() const;
  /// An int or a bool (which counts as 0 or 1).
  const int64_t* integer(int64_t& storage) const;
  /// An int, a bool or a float.
  bool number(double& out) const;

  /// As Python's bool().
  bool truth() const;
  /// "a string", "a list of 3", "nothing (`name` is not defined)": for messages.
  std::string describe() const;
  /// Nesting: 0 for what holds no other values.
  int depth() const;

 private:
  template <class T>
  const T* pointee() const {
    const auto* const shared = as<std::shared_ptr<const T>>();
    return shared == nullptr ? nullptr : shared->get();
  }

  Data data_;
};

struct List {
  std::vector<Value> items;
  ListKind kind = ListKind::list;
  int depth = 1;
  HeldBytes held = HeldBytes(kValueBytes + items.capacity() * sizeof(Value));
};

struct Dict {
  std::vector<std::pair<Value, Value>> entries;  // in order of insertion; keys differ
  int depth = 1;
  HeldBytes held = HeldBytes(kValueBytes + entries.capacity() * 2 * sizeof(Value));

  /// Null where there is none.
  const Value* find(std::string_view key) const;
  const Value* find(const Value& key) const;
};

struct Namespace {
  std::map<std::string, Value, std::less<>> attributes = {};
  HeldBytes held = HeldBytes(kValueBytes);

  void set(const std::string& name, Value value);
};

/// The variable `loop` of one turn of a for statement.
struct Loop {
  std::shared_ptr<const List> items;
  size_t at = 0;
  HeldBytes held = HeldBytes(kValueBytes);
};

struct Method {
  Value receiver;
  const MethodInfo* info;
  HeldBytes held = HeldBytes(kValueBytes);
};

/// Error: nested too deep.
Result<Value> make_list(std::vector<Value> items, ListKind kind = ListKind::list);
/// The last of entries with equal keys holds, in the place of the first. Errors: a key that is not
/// a string, number, bool or none; nested too deep.
Result<Value> make_dict(std::vector<std::pair<Value, Value>> entries);

}  // namespace varve::jinja
