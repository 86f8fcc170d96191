#include "chat/jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/markup.h"
#include "chat/jinja/text.h"

namespace varve::jinja {
namespace {

// Strings and lists that one operator makes.
constexpr int64_t kMaxRepeatedItems = 1 << 22;

// A character that becomes a value of its own, and its place in lists.
constexpr size_t kCharacterBytes = kValueBytes + 64;

std::string_view symbol(ArithmeticOp op) {
  switch (op) {
    case ArithmeticOp::add:
      return "+";
    case ArithmeticOp::subtract:
      return "-";
    case ArithmeticOp::multiply:
      return "*";
    case ArithmeticOp::divide:
      return "/";
    case ArithmeticOp::floor_divide:
      return "//";
    case ArithmeticOp::modulo:
      return "%";
    case ArithmeticOp::power:
      break;
  }
  return "**";
}

tl::unexpected<Error> no_operator(ArithmeticOp op, const Value& left, const Value& right) {
  return bad_input("`{}` does not apply to {} and {}", symbol(op), left.describe(),
                   right.describe());
}

tl::unexpected<Error> out_of_range(ArithmeticOp op) {
  return bad_input("the result of `{}` does not fit 64 bits", symbol(op));
}

Result<Value> integer_power(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) return bad_input("0 has no negative power");
    return Value(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t result = 1;
  // Bases of which high powers exist settle at once; others leave 64 bits after 62 steps.
  if (base == 0 || base == 1) return Value(exponent == 0 ? int64_t{1} : base);
  if (base == -1) return Value(exponent % 2 == 0 ? int64_t{1} : int64_t{-1});
  for (int64_t i = 0; i < exponent; ++i) {
    if (__builtin_mul_overflow(result, base, &result)) return out_of_range(ArithmeticOp::power);
  }
  return Value(result);
}

Result<Value> of_integers(ArithmeticOp op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case ArithmeticOp::add:
      overflow = __builtin_add_overflow(a, b, &result);
      break;
    case ArithmeticOp::subtract:
      overflow = __builtin_sub_overflow(a, b, &result);
      break;
    case ArithmeticOp::multiply:
      overflow = __builtin_mul_overflow(a, b, &result);
      break;
    case ArithmeticOp::divide:
      if (b == 0) return bad_input("division by zero");
      return Value(static_cast<double>(a) / static_cast<double>(b));
    case ArithmeticOp::floor_divide:
    case ArithmeticOp::modulo: {
      if (b == 0) return bad_input("division by zero");
      if (b == -1) {  // INT64_MIN / -1 does not exist
        if (op == ArithmeticOp::modulo) return Value(int64_t{0});
        return of_integers(ArithmeticOp::subtract, 0, a);
      }
      // Python rounds towards minus infinity; the remainder has the sign of the divisor.
      const bool inexact_negative = a % b != 0 && (a < 0) != (b < 0);
      result = op == ArithmeticOp::modulo ? a % b + (inexact_negative ? b : 0)
                                          : a / b - (inexact_negative ? 1 : 0);
      break;
    }
    case ArithmeticOp::power:
      return integer_power(a, b);
  }
  if (overflow) return out_of_range(op);
  return Value(result);
}

Result<Value> of_floats(ArithmeticOp op, double a, double b) {
  switch (op) {
    case ArithmeticOp::add:
      return Value(a + b);
    case ArithmeticOp::subtract:
      return Value(a - b);
    case ArithmeticOp::multiply:
      return Value(a * b);
    case ArithmeticOp::divide:
      if (b == 0) return bad_input("division by zero");
      return Value(a / b);
    case ArithmeticOp::floor_divide:
      if (b == 0) return bad_input("division by zero");
      return Value(std::floor(a / b));
    case ArithmeticOp::modulo: {
      if (b == 0) return bad_input("division by zero");
      const double rest = std::fmod(a, b);
      return Value(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);
    }
    case ArithmeticOp::power:
      break;
  }
  return Value(std::pow(a, b));
}

Result<Value> joined(const Value& left, const Value& right, Budget& budget) {
  const std::string& a = *left.text();
  const std::string& b = *right.text();
  VARVE_CHECKED(budget.make_bytes(a.size() + b.size()));
  if (!left.is_markup() && !right.is_markup()) return Value::text(a + b);
  return Value::text(
      (left.is_markup() ? a : escape_markup(a)) + (right.is_markup() ? b : escape_markup(b)), true);
}

Result<Value> repeated(const Value& value, int64_t times, Budget& budget) {
  const int64_t n = std::max<int64_t>(times, 0);
  const std::string* const text = value.text();
  const size_t size = text != nullptr ? text->size() : value.list()->items.size();
  if (n > kMaxRepeatedItems || static_cast<int64_t>(size) * n > kMaxRepeatedItems) {
    return bad_input("`*` makes more than {} items", kMaxRepeatedItems);
  }
  const size_t item_bytes = text != nullptr ? 1 : sizeof(Value);
  VARVE_CHECKED(budget.make_bytes(size * static_cast<size_t>(n) * item_bytes));
  if (text != nullptr) {
    std::string out;
    for (int64_t i = 0; i < n; ++i) out += *text;
    return Value::text(std::move(out));
  }
  std::vector<Value> items;
  for (int64_t i = 0; i < n; ++i) {
    items.insert(items.end(), value.list()->items.begin(), value.list()->items.end());
  }
  return make_list(std::move(items), value.list()->kind);
}

bool is_sequence(const Value& value) {
  const List* const list = value.list();
  return list != nullptr && (list->kind == ListKind::list || list->kind == ListKind::tuple);
}

Result<bool> equal_lists(const List& a, const List& b, Budget& budget) {
  if (a.items.size() != b.items.size() || a.kind != b.kind) return false;
  for (size_t i = 0; i < a.items.size(); ++i) {
    VARVE_TRY(const bool same, equal(a.items[i], b.items[i], budget));
    if (!same) return false;
  }
  return true;
}

Result<bool> equal_dicts(const Dict& a, const Dict& b, Budget& budget) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    VARVE_CHECKED(budget.take(static_cast<int64_t>(b.entries.size())));
    const Value* const other = b.find(key);
    if (other == nullptr) return false;
    VARVE_TRY(const bool same, equal(value, *other, budget));
    if (!same) return false;
  }
  return true;
}

// The spelling of a value inside a list or dictionary, and of those themselves.
Result<void> append_repr(const Value& value, std::string& out, Budget& budget);

Result<void> append_list(const List& list, std::string& out, Budget& budget) {
  const bool is_tuple = list.kind == ListKind::tuple;
  out += is_tuple ? '(' : '[';
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out += ", ";
    VARVE_CHECKED(append_repr(list.items[i], out, budget));
  }
  if (is_tuple && list.items.size() == 1) out += ',';
  out += is_tuple ? ')' : ']';
  return {};
}

Result<void> append_dict(const Dict& dict, std::string& out, Budget& budget) {
  out += '{';
  for (size_t i = 0; i < dict.entries.size(); ++i) {
    if (i > 0) out += ", ";
    VARVE_CHECKED(append_repr(dict.entries[i].first, out, budget));
    out += ": ";
    VARVE_CHECKED(append_repr(dict.entries[i].second, out, budget));
  }
  out += '}';
  return {};
}

Result<void> append_repr(const Value& value, std::string& out, Budget& budget) {
  VARVE_CHECKED(budget.make_bytes(16));
  if (const std::string* const text = value.text()) {
    VARVE_CHECKED(budget.make_bytes(text->size()));
    VARVE_CHECKED(budget.take(static_cast<int64_t>(text->size())));  // looked up one by one
    out += text_repr(*text);
    return {};
  }
  if (is_sequence(value)) return append_list(*value.list(), out, budget);
  if (const Dict* const dict = value.dict()) return append_dict(*dict, out, budget);
  if (value.is_undefined()) {
    out += "Undefined";
    return {};
  }
  if (value.is_none()) {
    out += "None";
  } else if (value.as<bool>() != nullptr) {
    out += value.truth() ? "True" : "False";
  } else if (const int64_t* const n = value.as<int64_t>()) {
    out += fmt::format("{}", *n);
  } else if (const double* const real = value.as<double>()) {
    out += float_repr(*real);
  } else {
    return bad_input("expected a value that can be printed, found {}", value.describe());
  }
  return {};
}

// A bound of a slice, none where it is left out.
Result<std::optional<int64_t>> bound(const Value& value) {
  if (value.is_none() || value.is_undefined()) return std::optional<int64_t>();
  int64_t storage = 0;
  const int64_t* const n = value.integer(storage);
  if (n == nullptr) return bad_input("expected an integer in [:], found {}", value.describe());
  return std::optional<int64_t>(*n);
}

// What a slice takes of `size` items: from `first` on, up to but not including `last`.
struct Range {
  int64_t first;
  int64_t last;
  int64_t step;
};

Range range_of(int64_t size, std::optional<int64_t> begin, std::optional<int64_t> end,
               int64_t step) {
  const int64_t least = step > 0 ? 0 : -1;
  const int64_t most = step > 0 ? size : size - 1;
  const auto place = [&](std::optional<int64_t> at, int64_t left_out) {
    if (!at) return left_out;
    if (*at >= 0) return std::min(*at, most);
    return *at < -size ? least : std::max(*at + size, least);
  };
  // Steps beyond the size take one item; cut there, nothing overflows.
  return {place(begin, step > 0 ? least : most), place(end, step > 0 ? most : least),
          std::clamp(step, -size - 1, size + 1)};
}

template <class Take>
void for_each_place(const Range& range, Take take) {
  for (int64_t i = range.first; range.step > 0 ? i < range.last : i > range.last; i += range.step) {
    take(static_cast<size_t>(i));
  }
}

Result<Value> slice_text(std::string_view text, std::optional<int64_t> begin,
                         std::optional<int64_t> end, int64_t step, Budget& budget) {
  VARVE_CHECKED(budget.take_bytes(text.size()));
  const Range range = range_of(static_cast<int64_t>(n_characters(text)), begin, end, step);
  if (range.step == 1) {
    const size_t first = byte_of_character(text, static_cast<size_t>(range.first));
    const auto n = static_cast<size_t>(std::max<int64_t>(range.last - range.first, 0));
    const std::string_view rest = text.substr(first);
    return Value::text(std::string(rest.substr(0, byte_of_character(rest, n))));
  }
  VARVE_CHECKED(budget.make_bytes(text.size() * sizeof(std::string_view)));
  const std::vector<std::string_view> all = characters(text);
  std::string out;
  for_each_place(range, [&](size_t i) { out += all[i]; });
  return Value::text(std::move(out));
}

}  // namespace

Result<Value> arithmetic(ArithmeticOp op, const Value& left, const Value& right, Budget& budget) {
  int64_t left_storage = 0;
  int64_t right_storage = 0;
  const int64_t* const a = left.integer(left_storage);
  const int64_t* const b = right.integer(right_storage);
  if (a != nullptr && b != nullptr) return of_integers(op, *a, *b);
  double x = 0;
  double y = 0;
  if (left.number(x) && right.number(y)) return of_floats(op, x, y);
  if (op == ArithmeticOp::add) {
    if (left.text() != nullptr && right.text() != nullptr) return joined(left, right, budget);
    if (is_sequence(left) && is_sequence(right) && left.list()->kind == right.list()->kind) {
      const std::vector<Value>& first = left.list()->items;
      const std::vector<Value>& second = right.list()->items;
      const size_t n = first.size() + second.size();
      VARVE_CHECKED(budget.make_bytes(n * sizeof(Value)));
      std::vector<Value> items;
      items.reserve(n);
      items.insert(items.end(), first.begin(), first.end());
      items.insert(items.end(), second.begin(), second.end());
      return make_list(std::move(items), left.list()->kind);
    }
  }
  if (op == ArithmeticOp::multiply) {
    const auto repeats = [](const Value& value) { return value.text() || is_sequence(value); };
    if (repeats(left) && b != nullptr) return repeated(left, *b, budget);
    if (repeats(right) && a != nullptr) return repeated(right, *a, budget);
  }
  return no_operator(op, left, right);
}

Result<Value> negated(const Value& value) {
  int64_t storage = 0;
  if (const int64_t* const n = value.integer(storage)) {
    return of_integers(ArithmeticOp::subtract, 0, *n);
  }
  if (const double* const n = value.as<double>()) return Value(-*n);
  return bad_input("`-` does not apply to {}", value.describe());
}

Result<bool> equal(const Value& left, const Value& right, Budget& budget) {
  VARVE_CHECKED(budget.take(1));
  int64_t left_storage = 0;
  int64_t right_storage = 0;
  const int64_t* const a = left.integer(left_storage);
  const int64_t* const b = right.integer(right_storage);
  if (a != nullptr && b != nullptr) return *a == *b;
  double x = 0;
  double y = 0;
  if (left.number(x) && right.number(y)) return x == y;
  if (left.text() != nullptr && right.text() != nullptr) {
    VARVE_CHECKED(budget.take_bytes(std::min(left.text()->size(), right.text()->size())));
    return *left.text() == *right.text();
  }
  if (left.list() != nullptr && right.list() != nullptr) {
    if (left.list() == right.list()) return true;
    return equal_lists(*left.list(), *right.list(), budget);
  }
  if (left.dict() != nullptr && right.dict() != nullptr) {
    if (left.dict() == right.dict()) return true;
    return equal_dicts(*left.dict(), *right.dict(), budget);
  }
  if (left.name_space() != nullptr) return left.name_space() == right.name_space();
  return (left.is_none() && right.is_none()) || (left.is_undefined() && right.is_undefined());
}

Result<bool> less(const Value& left, const Value& right, Budget& budget) {
  VARVE_CHECKED(budget.take(1));
  int64_t left_storage = 0;
  int64_t right_storage = 0;
  const int64_t* const a = left.integer(left_storage);
  const int64_t* const b = right.integer(right_storage);
  if (a != nullptr && b != nullptr) return *a < *b;
  double x = 0;
  double y = 0;
  if (left.number(x) && right.number(y)) return x < y;
  if (left.text() != nullptr && right.text() != nullptr) {
    // UTF-8 keeps the order of code points, byte by byte as unsigned.
    VARVE_CHECKED(budget.take_bytes(std::min(left.text()->size(), right.text()->size())));
    return *left.text() < *right.text();
  }
  if (is_sequence(left) && is_sequence(right)) {
    const std::vector<Value>& ours = left.list()->items;
    const std::vector<Value>& theirs = right.list()->items;
    for (size_t i = 0; i < std::min(ours.size(), theirs.size()); ++i) {
      VARVE_TRY(const bool same, equal(ours[i], theirs[i], budget));
      if (!same) return less(ours[i], theirs[i], budget);
    }
    return ours.size() < theirs.size();
  }
  return bad_input("there is no order between {} and {}", left.describe(), right.describe());
}

Result<bool> contains(const Value& whole, const Value& part, Budget& budget) {
  if (const std::string* const text = whole.text()) {
    if (part.text() == nullptr) {
      return bad_input("expected a string before `in` a string, found {}", part.describe());
    }
    VARVE_CHECKED(budget.take_bytes(text->size() + part.text()->size()));
    return find_text(*text, *part.text()) != std::string::npos;
  }
  if (const Dict* const dict = whole.dict()) {
    VARVE_CHECKED(budget.take(static_cast<int64_t>(dict->entries.size() / 16)));
    return dict->find(part) != nullptr;
  }
  VARVE_TRY(const std::vector<Value> items, items_of(whole, budget));
  for (const Value& item : items) {
    VARVE_TRY(const bool same, equal(item, part, budget));
    if (same) return true;
  }
  return false;
}

Result<bool> compare(CompareOp op, const Value& left, const Value& right, Budget& budget) {
  switch (op) {
    case CompareOp::equal:
      return equal(left, right, budget);
    case CompareOp::unequal:
      return equal(left, right, budget).map([](bool same) { return !same; });
    case CompareOp::less:
      return less(left, right, budget);
    case CompareOp::greater:
      return less(right, left, budget);
    case CompareOp::less_equal:
    case CompareOp::greater_equal: {
      // Not the opposite of the other order: neither holds for NaN.
      const bool ascends = op == CompareOp::less_equal;
      VARVE_TRY(const bool smaller,
                ascends ? less(left, right, budget) : less(right, left, budget));
      if (smaller) return true;
      return equal(left, right, budget);
    }
    case CompareOp::in:
      return contains(right, left, budget);
    case CompareOp::not_in:
      break;
  }
  return contains(right, left, budget).map([](bool found) { return !found; });
}

Result<std::string> to_text(const Value& value, Budget& budget) {
  if (const std::string* const text = value.text()) {
    VARVE_CHECKED(budget.make_bytes(text->size()));
    return *text;
  }
  if (value.is_undefined()) return std::string();
  std::string out;
  VARVE_CHECKED(append_repr(value, out, budget));
  return out;
}

Result<std::vector<Value>> items_of(const Value& value, Budget& budget) {
  std::vector<Value> items;
  if (const List* const list = value.list()) {
    VARVE_CHECKED(budget.take(static_cast<int64_t>(list->items.size() / 16)));
    return list->items;
  }
  if (const std::string* const text = value.text()) {
    VARVE_CHECKED(budget.make_bytes(kCharacterBytes * text->size()));
    for (const std::string_view character : characters(*text)) {
      items.push_back(Value::text(std::string(character)));
    }
    return items;
  }
  if (const Dict* const dict = value.dict()) {
    VARVE_CHECKED(budget.take(static_cast<int64_t>(dict->entries.size() / 16)));
    for (const auto& entry : dict->entries) items.push_back(entry.first);
    return items;
  }
  if (value.is_undefined()) return items;
  return bad_input("expected a list, a string or a dictionary to go through, found {}",
                   value.describe());
}

Result<Value> slice(const Value& value, const Value& begin, const Value& end, const Value& step,
                    Budget& budget) {
  VARVE_TRY(const std::optional<int64_t> first, bound(begin));
  VARVE_TRY(const std::optional<int64_t> last, bound(end));
  VARVE_TRY(const std::optional<int64_t> stride, bound(step));
  if (stride == 0) return bad_input("a slice has a step of 0");
  if (const std::string* const text = value.text()) {
    return slice_text(*text, first, last, stride.value_or(1), budget);
  }
  // As an index that is not there: jinja2 gives undefined for what cannot be sliced.
  if (!is_sequence(value)) return Value::undefined("[:]");
  const std::vector<Value>& all = value.list()->items;
  VARVE_CHECKED(budget.take(static_cast<int64_t>(all.size() / 4)));
  std::vector<Value> items;
  for_each_place(range_of(static_cast<int64_t>(all.size()), first, last, stride.value_or(1)),
                 [&](size_t i) { items.push_back(all[i]); });
  return make_list(std::move(items), value.list()->kind);
}

}  // namespace varve::jinja
