// Filters that make strings and numbers.
#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include "base/markup.h"
#include "chat/jinja/access.h"
#include "chat/jinja/filters.h"
#include "chat/jinja/json.h"
#include "chat/jinja/methods.h"
#include "chat/jinja/operators.h"
#include "chat/jinja/split.h"
#include "chat/jinja/text.h"

namespace varve::jinja {
namespace {

// Levels of `indent` and digits of `round` that make sense.
constexpr int64_t kMaxIndent = 4096;
constexpr int64_t kMaxDigits = 100;

bool is_missing(const Value& value) {
  return value.is_undefined() || value.is_none();
}

Result<int64_t> integer_or(const Value& value, int64_t missing, std::string_view filter) {
  if (is_missing(value)) return missing;
  int64_t storage = 0;
  if (const int64_t* const n = value.integer(storage)) return *n;
  return bad_input("`{}` expects an integer, found {}", filter, value.describe());
}

// What a filter of strings makes of any value: its text.
template <Result<std::string> (*change)(std::string_view)>
Result<Value> case_filter(const Value& in, const Arguments&, Budget& budget) {
  VARVE_TRY(const std::string text, to_text(in, budget));
  return change(text).map([](std::string out) { return Value::text(std::move(out)); });
}

Result<Value> trim_filter(const Value& in, const Arguments& args, Budget& budget) {
  VARVE_TRY(const std::string text, to_text(in, budget));
  std::optional<std::string_view> chars;
  if (!is_missing(args.positional[0])) {
    if (args.positional[0].text() == nullptr) {
      return bad_input("`trim` expects a string, found {}", args.positional[0].describe());
    }
    chars = *args.positional[0].text();
    VARVE_CHECKED(budget.take_product(text.size(), chars->size()));
  }
  return Value::text(std::string(strip(text, chars, Side::both)));
}

Result<Value> string_filter(const Value& in, const Arguments&, Budget& budget) {
  if (in.text() != nullptr) return in;
  VARVE_TRY(std::string text, to_text(in, budget));
  return Value::text(std::move(text));
}

Result<Value> safe_filter(const Value& in, const Arguments&, Budget& budget) {
  VARVE_TRY(std::string text, to_text(in, budget));
  return Value::text(std::move(text), true);
}

Result<Value> escape_filter(const Value& in, const Arguments&, Budget& budget) {
  if (in.is_markup()) return in;
  VARVE_TRY(const std::string text, to_text(in, budget));
  VARVE_CHECKED(budget.make_bytes(5 * text.size()));
  return Value::text(escape_markup(text), true);
}

Result<Value> replace_filter(const Value& in, const Arguments& args, Budget& budget) {
  VARVE_TRY(const std::string text, to_text(in, budget));
  VARVE_TRY(const std::string from, to_text(args.positional[0], budget));
  VARVE_TRY(const std::string to, to_text(args.positional[1], budget));
  VARVE_TRY(const int64_t count, integer_or(args.positional[2], -1, "replace"));
  VARVE_TRY(std::string out, replace(text, from, to, count, budget));
  return Value::text(std::move(out));
}

// width or a string, first line too, blank lines too.
Result<Value> indent_filter(const Value& in, const Arguments& args, Budget& budget) {
  VARVE_TRY(std::string text, to_text(in, budget));
  std::string indent;
  if (const std::string* const given = args.positional[0].text()) {
    indent = *given;
  } else {
    VARVE_TRY(const int64_t width, integer_or(args.positional[0], 4, "indent"));
    if (width > kMaxIndent) {
      return bad_input("`indent` expects a width of at most {}, found {}", kMaxIndent, width);
    }
    indent.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
  }
  const bool indents_first = args.positional[1].truth();
  const bool indents_blank = args.positional[2].truth();
  // The line that this opens at the end keeps the last line end.
  text += '\n';
  VARVE_TRY(const Parts lines, split_lines(text, false, budget));
  std::string out = indents_first ? indent : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    VARVE_CHECKED(budget.make_bytes(16 + lines[i].size() + indent.size()));
    if (i > 0) out += '\n';
    if (i > 0 && (indents_blank || !lines[i].empty())) out += indent;
    out += lines[i];
  }
  return Value::text(std::move(out));
}

Result<Value> tojson_filter(const Value& in, const Arguments& args, Budget& budget) {
  JsonStyle style;
  style.ensure_ascii = args.positional[0].truth();
  const Value& indent = args.positional[1];
  if (!is_missing(indent)) {
    style.is_indented = true;
    style.item_separator = ",";
    if (indent.text() != nullptr) {
      style.indent = *indent.text();
    } else {
      VARVE_TRY(const int64_t width, integer_or(indent, 0, "tojson"));
      if (width > kMaxIndent) {
        return bad_input("`tojson` expects an indent of at most {}, found {}", kMaxIndent, width);
      }
      style.indent.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
    }
  }
  const Value& separators = args.positional[2];
  if (!is_missing(separators)) {
    const List* const pair = separators.list();
    if (pair == nullptr || pair->items.size() != 2 || pair->items[0].text() == nullptr ||
        pair->items[1].text() == nullptr) {
      return bad_input("`tojson` expects two strings as separators, found {}",
                       separators.describe());
    }
    style.item_separator = *pair->items[0].text();
    style.key_separator = *pair->items[1].text();
  }
  style.sort_keys = args.positional[3].truth();
  VARVE_TRY(std::string json, to_json(in, style, budget));
  return Value::text(std::move(json));
}

// The number that a string spells, as Python's float() reads it.
std::optional<double> spelt_number(std::string_view text) {
  text = strip(text, std::nullopt, Side::both);
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

Result<Value> whole_part(double value, const Value& missing) {
  if (!std::isfinite(value)) return missing;
  if (std::abs(value) >= 9.2e18) return bad_input("`int` of {} does not fit 64 bits", value);
  return Value(static_cast<int64_t>(value));
}

Result<Value> int_filter(const Value& in, const Arguments& args, Budget& budget) {
  if (in.is_undefined()) return bad_input("`int` is asked of {}", in.describe());
  const Value missing = args.positional[0].is_undefined() ? Value(int64_t{0}) : args.positional[0];
  VARVE_TRY(const int64_t base, integer_or(args.positional[1], 10, "int"));
  if (base != 10) return bad_input("`int` reads base 10 here, not {}", base);
  int64_t storage = 0;
  if (const int64_t* const n = in.integer(storage)) return Value(*n);
  if (const double* const n = in.as<double>()) return whole_part(*n, missing);
  if (in.text() == nullptr) return missing;
  VARVE_CHECKED(budget.take_bytes(in.text()->size()));
  std::string_view text = strip(*in.text(), std::nullopt, Side::both);
  if (text.starts_with('+')) text.remove_prefix(1);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (!text.empty() && error == std::errc() && end == text.data() + text.size()) {
    return Value(value);
  }
  const std::optional<double> number = spelt_number(text);
  return number ? whole_part(*number, missing) : missing;
}

Result<Value> float_filter(const Value& in, const Arguments& args, Budget& budget) {
  if (in.is_undefined()) return bad_input("`float` is asked of {}", in.describe());
  double value = 0;
  if (in.number(value)) return Value(value);
  if (in.text() != nullptr) {
    VARVE_CHECKED(budget.take_bytes(in.text()->size()));
    if (const std::optional<double> number = spelt_number(*in.text())) return Value(*number);
  }
  return args.positional[0].is_undefined() ? Value(0.0) : args.positional[0];
}

// To the nearest, ties to even, of the exact value in decimal.
double rounded(double value, int digits) {
  std::array<char, 512> buffer;
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                          std::chars_format::fixed, digits);
  double out = value;
  if (error == std::errc()) std::from_chars(buffer.data(), end, out);
  return out;
}

Result<Value> round_filter(const Value& in, const Arguments& args, Budget&) {
  VARVE_TRY(const int64_t digits, integer_or(args.positional[0], 0, "round"));
  if (digits < 0 || digits > kMaxDigits) {
    return bad_input("`round` expects 0 to {} digits, found {}", kMaxDigits, digits);
  }
  const std::string* const method = args.positional[1].text();
  double value = 0;
  if (!in.number(value)) return bad_input("`round` does not apply to {}", in.describe());
  if (method == nullptr || *method == "common") {
    int64_t storage = 0;
    if (const int64_t* const n = in.integer(storage)) return Value(*n);
    return Value(std::isfinite(value) ? rounded(value, static_cast<int>(digits)) : value);
  }
  const double factor = std::pow(10.0, static_cast<double>(digits));
  if (*method == "ceil") return Value(std::ceil(value * factor) / factor);
  if (*method == "floor") return Value(std::floor(value * factor) / factor);
  return bad_input("`round` rounds by common, ceil or floor, not {}", text_repr(*method));
}

Result<Value> abs_filter(const Value& in, const Arguments&, Budget&) {
  if (const double* const n = in.as<double>()) return Value(std::abs(*n));
  int64_t storage = 0;
  const int64_t* const n = in.integer(storage);
  if (n == nullptr) return bad_input("`abs` does not apply to {}", in.describe());
  return *n < 0 ? negated(in) : Result<Value>(Value(*n));
}

Result<Value> default_filter(const Value& in, const Arguments& args, Budget&) {
  const bool takes_false = args.positional[1].truth();
  if (!in.is_undefined() && (!takes_false || in.truth())) return in;
  return args.positional[0].is_undefined() ? Value::text("") : args.positional[0];
}

Result<Value> attr_filter(const Value& in, const Arguments& args, Budget& budget) {
  const std::string* const name = args.positional[0].text();
  if (name == nullptr) {
    return bad_input("`attr` expects a name, found {}", args.positional[0].describe());
  }
  // Entries of a dictionary are no attributes.
  if (in.dict() == nullptr) return attribute(in, *name, budget);
  const MethodInfo* const info = find_method(in, *name);
  return info == nullptr ? Value::undefined(*name) : Value::method(in, *info);
}

constexpr FilterInfo kFilters[] = {
    {"trim", {"chars"}, trim_filter},
    {"upper", {}, case_filter<upper>},
    {"lower", {}, case_filter<lower>},
    {"capitalize", {}, case_filter<capitalize>},
    {"title", {}, case_filter<title_words>},
    {"string", {}, string_filter},
    {"safe", {}, safe_filter},
    {"escape", {}, escape_filter},
    {"e", {}, escape_filter},
    {"replace", {"old new count", 2}, replace_filter},
    {"indent", {"width first blank"}, indent_filter},
    {"tojson", {"ensure_ascii indent separators sort_keys"}, tojson_filter},
    {"int", {"default base"}, int_filter},
    {"float", {"default"}, float_filter},
    {"round", {"precision method"}, round_filter},
    {"abs", {}, abs_filter},
    {"default", {"default_value boolean"}, default_filter},
    {"d", {"default_value boolean"}, default_filter},
    {"attr", {"name", 1}, attr_filter},
};

}  // namespace

std::span<const FilterInfo> text_filters() {
  return kFilters;
}

}  // namespace varve::jinja
