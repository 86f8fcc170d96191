#include "server/request_fields.h"

#include <cmath>
#include <utility>

#include "chat/jinja/json.h"
#include "formats/json_reader.h"

namespace varve::server {

using jinja::Value;

namespace {

// Values and keys that a text has as JSON, no fewer than the parser will make.
size_t count_values(std::string_view json) {
  size_t n = 1;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (c == '"') in_string = !in_string;
    if (in_string && c == '\\') ++i;
    if (!in_string && (c == ',' || c == ':' || c == '[' || c == '{')) ++n;
  }
  return n;
}

}  // namespace

std::string shown(const Value& value) {
  if (const std::string* const text = value.text()) return in_quotes(*text);
  double number = 0;
  if (value.as<bool>() != nullptr) return value.truth() ? "true" : "false";
  if (value.number(number)) return fmt::format("{}", number);
  if (value.is_none()) return "null";
  if (value.dict() != nullptr) return "an object";
  return value.describe();
}

tl::unexpected<Error> wrong_value(std::string_view path, std::string_view expected,
                                  const Value& found) {
  return bad_input("field `{}`: expected {}, found {}", path, expected, shown(found));
}

Result<RequestFields> RequestFields::of_body(std::string_view json) {
  if (count_values(json) > kMaxJsonValues) {
    return bad_input("the body: expected at most {} JSON values, found more", kMaxJsonValues);
  }
  VARVE_TRY(Value root, jinja::from_json(json, "the body"));
  if (root.dict() == nullptr) {
    return bad_input("the body: expected a JSON object, found {}", shown(root));
  }
  return RequestFields(std::move(root), "");
}

Result<RequestFields> RequestFields::of_value(const Value& value, std::string path) {
  if (value.dict() == nullptr) return wrong_value(path, "an object", value);
  return RequestFields(value, std::move(path));
}

const Value* RequestFields::find(std::string_view key) const {
  const Value* const value = value_.dict()->find(key);
  return value == nullptr || value->is_none() ? nullptr : value;
}

std::string RequestFields::path(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

std::string RequestFields::path(std::string_view key, size_t index) const {
  return fmt::format("{}[{}]", path(key), index);
}

tl::unexpected<Error> RequestFields::wrong(std::string_view key, std::string_view expected) const {
  if (const Value* const value = find(key)) return wrong_value(path(key), expected, *value);
  return bad_input("field `{}`: expected {}, it is missing", path(key), expected);
}

Result<std::string> RequestFields::string(std::string_view key) const {
  const Value* const value = find(key);
  if (value == nullptr || value->text() == nullptr) return wrong(key, "a string");
  return *value->text();
}

Result<RequestFields> RequestFields::object(std::string_view key) const {
  const Value* const value = find(key);
  if (value == nullptr || value->dict() == nullptr) return wrong(key, "an object");
  return RequestFields(*value, path(key));
}

Result<std::vector<Value>> RequestFields::list(std::string_view key) const {
  const Value* const value = find(key);
  if (value == nullptr || value->list() == nullptr) return wrong(key, "an array");
  return value->list()->items;
}

Result<std::vector<RequestFields>> RequestFields::objects(std::string_view key) const {
  VARVE_TRY(const std::vector<Value> items, list(key));
  std::vector<RequestFields> out;
  for (size_t i = 0; i < items.size(); ++i) {
    VARVE_TRY(RequestFields fields, of_value(items[i], path(key, i)));
    out.push_back(std::move(fields));
  }
  return out;
}

Result<std::string> RequestFields::string_or(std::string_view key, std::string missing) const {
  if (!has(key)) return missing;
  return string(key);
}

Result<bool> RequestFields::boolean_or(std::string_view key, bool missing) const {
  const Value* const value = find(key);
  if (value == nullptr) return missing;
  if (value->as<bool>() == nullptr) return wrong(key, "true or false");
  return value->truth();
}

Result<int64_t> RequestFields::integer_or(std::string_view key, int64_t missing, int64_t min,
                                          int64_t max) const {
  const Value* const value = find(key);
  if (value == nullptr) return missing;
  const std::string expected = fmt::format("an integer from {} to {}", min, max);
  int64_t integer = 0;
  if (const int64_t* const whole = value->as<int64_t>()) {
    integer = *whole;
  } else if (const double* const real = value->as<double>();
             real != nullptr && *real == std::floor(*real) && std::abs(*real) < 0x1p62) {
    integer = static_cast<int64_t>(*real);
  } else {
    return wrong(key, expected);
  }
  if (integer < min || integer > max) return wrong(key, expected);
  return integer;
}

Result<double> RequestFields::number_or(std::string_view key, double missing, double min,
                                        double max) const {
  const Value* const value = find(key);
  if (value == nullptr) return missing;
  double number = 0;
  if (value->as<bool>() != nullptr || !value->number(number) || !(number >= min && number <= max)) {
    return wrong(key, fmt::format("a number from {} to {}", min, max));
  }
  return number;
}

Result<std::vector<std::string>> RequestFields::strings(std::string_view key) const {
  const Value* const value = find(key);
  if (value == nullptr) return {};
  if (value->text() != nullptr) return std::vector{*value->text()};
  if (value->list() == nullptr) return wrong(key, "a string or an array of strings");
  std::vector<std::string> out;
  for (size_t i = 0; i < value->list()->items.size(); ++i) {
    const Value& item = value->list()->items[i];
    if (item.text() == nullptr) return wrong_value(path(key, i), "a string", item);
    out.push_back(*item.text());
  }
  return out;
}

}  // namespace varve::server
