#include "grammar/schema_values.h"

#include <cmath>

#include "grammar/number_text.h"
#include "grammar/pattern.h"

namespace varve {
namespace {

// Multiples that are written out, at most.
constexpr int64_t kMaxMultiples = 1000;
// Few tokens are digits, so masks of numbers are small: so many bytes of an expression take the
// memory of one place where any character may stand. Multiples are text alone.
constexpr size_t kNumberBytesPerPosition = 128;

RegexShape number_shape(std::string regex) {
  const auto n_positions = static_cast<int64_t>(regex.size() / kNumberBytesPerPosition);
  return RegexShape{std::move(regex), n_positions};
}

Result<std::optional<double>> read_bound(const SchemaJson& schema, std::string_view path,
                                         std::string_view key) {
  const auto field = schema.find(key);
  if (field == schema.end()) return std::optional<double>();
  if (!field->is_number()) return wrong_keyword(path, key, "a number", *field);
  return std::optional(field->get<double>());
}

// The least integer of at least `bound` (or above it), within 64 bits.
int64_t integer_bound(double bound, bool is_min, bool is_out) {
  double whole = is_min ? std::ceil(bound) : std::floor(bound);
  if (is_out && whole == bound) whole += is_min ? 1 : -1;
  if (whole >= 0x1p63) return INT64_MAX;
  if (whole < -0x1p63) return INT64_MIN;
  return static_cast<int64_t>(whole);
}

struct IntegerBounds {
  std::optional<int64_t> min = {};
  std::optional<int64_t> max = {};
};

Result<IntegerBounds> integer_bounds(const SchemaJson& schema, std::string_view path) {
  IntegerBounds bounds;
  for (const std::string_view key :
       {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"}) {
    VARVE_TRY(const std::optional<double> bound, read_bound(schema, path, key));
    if (!bound) continue;
    const bool is_min = key.ends_with("inimum");
    if (is_min ? *bound >= 0x1p63 : *bound < -0x1p63) {
      return schema_error(path, "no integer of 64 bits lies within the bounds");
    }
    const bool is_out = key.starts_with("exclusive");
    // One that is an integer may have more digits than a double.
    const SchemaJson& field = *schema.find(key);
    const bool is_exact = field.is_number_integer() && !is_out && std::abs(*bound) < 0x1p62;
    const int64_t whole = is_exact ? field.get<int64_t>() : integer_bound(*bound, is_min, is_out);
    if (is_min) {
      bounds.min = std::max(bounds.min.value_or(whole), whole);
    } else {
      bounds.max = std::min(bounds.max.value_or(whole), whole);
    }
  }
  return bounds;
}

// 10^n is n; nothing for others.
std::optional<int> power_of_ten(double value) {
  for (int n = -Decimal::kMaxFraction; n <= 9; ++n) {
    if (value == (n < 0 ? 1 / std::pow(10.0, -n) : std::pow(10.0, n))) return n;
  }
  return std::nullopt;
}

Result<double> read_multiple(const SchemaJson& schema, std::string_view path) {
  VARVE_TRY(const std::optional<double> multiple, read_bound(schema, path, "multipleOf"));
  if (!multiple) return 0;
  if (*multiple > 0) return *multiple;
  return wrong_keyword(path, "multipleOf", "a number above 0", *schema.find("multipleOf"));
}

Result<RegexShape> multiples(double multiple, const IntegerBounds& bounds, std::string_view path) {
  const std::string place = step_of(path, "multipleOf");
  if (multiple != std::floor(multiple) || multiple > 1e9) {
    return schema_error(place, "expected a whole number up to 1e9 for integers");
  }
  if (bounds.min && bounds.max) {
    const auto step = static_cast<int64_t>(multiple);
    // The least one that is not below the bound: a division cuts towards 0.
    const int64_t first = *bounds.min / step + (*bounds.min > 0 && *bounds.min % step != 0 ? 1 : 0);
    std::string regex = "(?:";
    int64_t n = 0;
    for (int64_t i = first; i <= *bounds.max / step; ++i) {
      if (i * step > *bounds.max) break;  // both below 0
      if (++n > kMaxMultiples) break;
      regex += fmt::format("{}{}", n > 1 ? "|" : "", i * step);
    }
    if (n == 0) return schema_error(path, "no multiple lies within the bounds");
    if (n <= kMaxMultiples) return RegexShape{regex + ")"};
  }
  const std::optional<int> zeros = power_of_ten(multiple);
  if (!zeros || bounds.min || bounds.max) {
    return schema_error(place,
                        "expected a power of ten without bounds, or bounds with at most {} "
                        "multiples between them",
                        kMaxMultiples);
  }
  return number_shape(fmt::format("(?:0|-{{0,1}}[1-9][0-9]{{0,{}}}{})", 17 - *zeros,
                                  std::string(static_cast<size_t>(*zeros), '0')));
}

}  // namespace

Result<int64_t> read_count(const SchemaJson& schema, std::string_view path, std::string_view key,
                           int64_t missing) {
  const auto field = schema.find(key);
  if (field == schema.end()) return missing;
  const double count = field->is_number() ? field->get<double>() : -1;
  if (count >= 0 && count <= static_cast<double>(kMaxSchemaCount) && count == std::floor(count)) {
    return static_cast<int64_t>(count);
  }
  return wrong_keyword(path, key, fmt::format("an integer from 0 to {}", kMaxSchemaCount), *field);
}

Result<LiteralShape> read_literals(const SchemaJson& schema, std::string_view path) {
  const bool is_const = schema.contains("const");
  const std::string_view key = is_const ? "const" : "enum";
  VARVE_CHECKED(refuse_beside(schema, path, key, "type"));
  VARVE_TRY(const unsigned types, types_of(schema, path));
  const SchemaJson& field = *schema.find(key);
  if (!is_const && (!field.is_array() || field.empty())) {
    return wrong_keyword(path, key, "an array of values", field);
  }
  LiteralShape literals;
  for (const SchemaJson& value : is_const ? SchemaJson::array({field}) : field) {
    if (is_of_types(value, types)) literals.texts.push_back(value.dump());
  }
  if (literals.texts.empty()) {
    return schema_error(step_of(path, key), "no value is of the `type` beside it");
  }
  return literals;
}

Result<RegexShape> read_integer(const SchemaJson& schema, std::string_view path) {
  VARVE_TRY(const IntegerBounds bounds, integer_bounds(schema, path));
  if (bounds.min && bounds.max && *bounds.min > *bounds.max) {
    return schema_error(path, "no integer lies within the bounds");
  }
  VARVE_TRY(const double multiple, read_multiple(schema, path));
  if (multiple != 0 && multiple != 1) return multiples(multiple, bounds, path);
  return number_shape(integer_regex(bounds.min, bounds.max));
}

Result<RegexShape> read_number(const SchemaJson& schema, std::string_view path) {
  NumberBounds bounds;
  for (const bool is_min : {true, false}) {
    VARVE_TRY(const auto bound, read_bound(schema, path, is_min ? "minimum" : "maximum"));
    VARVE_TRY(const auto out,
              read_bound(schema, path, is_min ? "exclusiveMinimum" : "exclusiveMaximum"));
    if (!bound && !out) continue;
    const bool is_out = out && (!bound || (is_min ? *out >= *bound : *out <= *bound));
    const double value = is_out ? *out : *bound;
    const std::optional<Decimal> decimal = Decimal::of(value);
    if (!decimal) {
      return schema_error(path,
                          "expected bounds below 1e15 with at most {} digits behind the "
                          "point, found {}",
                          Decimal::kMaxFraction, value);
    }
    (is_min ? bounds.min : bounds.max) = decimal;
    (is_min ? bounds.is_above_min : bounds.is_below_max) = is_out;
  }
  VARVE_TRY(const double multiple, read_multiple(schema, path));
  if (multiple != 0) {
    const std::optional<int> power = power_of_ten(multiple);
    if (!power || *power > 0) {
      return wrong_keyword(path, "multipleOf", "1, 0.1, 0.01, ... for numbers",
                           *schema.find("multipleOf"));
    }
    bounds.n_fraction = -*power;
  }
  const auto regex = number_regex(bounds);
  if (!regex) return schema_error(path, "{}", regex.error().message);
  if (!*regex) return schema_error(path, "no number lies within the bounds");
  return number_shape(**regex);
}

Result<Shape> read_string(const SchemaJson& schema, std::string_view path) {
  const bool has_length = schema.contains("minLength") || schema.contains("maxLength");
  const auto field = schema.find("pattern");
  if (field != schema.end() && !field->is_string()) {
    return wrong_keyword(path, "pattern", "a string", *field);
  }
  std::string_view pattern;
  bool has_pattern = field != schema.end();
  if (has_pattern) {
    pattern = field->get_ref<const std::string&>();
    if (has_length) return schema_error(path, "`pattern` beside a length is not supported");
  } else if (const auto format = schema.find("format");
             format != schema.end() && format->is_string() && !has_length) {
    pattern = pattern_of_format(format->get_ref<const std::string&>());
    has_pattern = !pattern.empty();
  }
  if (has_pattern) {
    const auto regex = json_regex_of_pattern(pattern);
    if (!regex) return schema_error(step_of(path, "pattern"), "{}", regex.error().message);
    return Shape{RegexShape{fmt::format("\"(?:{})\"", regex->text), regex->n_positions},
                 std::string(path)};
  }
  StringShape string;
  VARVE_TRY(string.min, read_count(schema, path, "minLength", 0));
  if (schema.contains("maxLength")) {
    VARVE_TRY(string.max, read_count(schema, path, "maxLength", 0));
    if (*string.max < string.min) return schema_error(path, "`maxLength` is below `minLength`");
  }
  return Shape{string, std::string(path)};
}

}  // namespace varve
