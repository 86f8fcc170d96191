// For tests: whether a value fits a schema, as the specification has it (draft 2020-12), of the
// keywords that are supported. Written after the specification, not after the grammar.
#pragma once

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>

#include "tokenizer/utf8.h"

namespace varve {

class SchemaChecker {
 public:
  using Json = nlohmann::ordered_json;

  explicit SchemaChecker(Json schema) : root_(std::move(schema)) {}

  bool fits(const Json& value) const { return fits(root_, value); }

 private:
  bool fits(const Json& schema, const Json& value) const {
    if (schema.is_boolean()) return schema.get<bool>();
    return fits_references(schema, value) && fits_type(schema, value) &&
           fits_number(schema, value) && fits_string(schema, value) && fits_array(schema, value) &&
           fits_object(schema, value);
  }

  bool fits_references(const Json& schema, const Json& value) const {
    if (schema.contains("$ref")) {
      const auto reference = schema["$ref"].get<std::string>();
      if (!fits(root_.at(Json::json_pointer(reference.substr(1))), value)) return false;
    }
    const auto n_fitting = [&](const Json& options) {
      return std::count_if(options.begin(), options.end(),
                           [&](const Json& one) { return fits(one, value); });
    };
    if (schema.contains("allOf") &&
        n_fitting(schema["allOf"]) < static_cast<int64_t>(schema["allOf"].size())) {
      return false;
    }
    if (schema.contains("anyOf") && n_fitting(schema["anyOf"]) == 0) return false;
    if (schema.contains("oneOf") && n_fitting(schema["oneOf"]) != 1) return false;
    if (schema.contains("const") && schema["const"] != value) return false;
    return !schema.contains("enum") ||
           std::find(schema["enum"].begin(), schema["enum"].end(), value) != schema["enum"].end();
  }

  static bool is_of(const std::string& type, const Json& value) {
    if (type == "integer") {
      return value.is_number() && value.get<double>() == std::floor(value.get<double>());
    }
    return (type == "null" && value.is_null()) || (type == "boolean" && value.is_boolean()) ||
           (type == "number" && value.is_number()) || (type == "string" && value.is_string()) ||
           (type == "array" && value.is_array()) || (type == "object" && value.is_object());
  }

  static bool fits_type(const Json& schema, const Json& value) {
    if (!schema.contains("type")) return true;
    const Json& type = schema["type"];
    if (type.is_string()) return is_of(type, value);
    return std::any_of(type.begin(), type.end(),
                       [&](const Json& one) { return is_of(one, value); });
  }

  static bool fits_number(const Json& schema, const Json& value) {
    if (!value.is_number()) return true;
    const auto number = value.get<double>();
    const auto bound = [&](const char* key, double missing) {
      return schema.contains(key) ? schema[key].get<double>() : missing;
    };
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    if (number < bound("minimum", -kInfinity) || number > bound("maximum", kInfinity) ||
        number <= bound("exclusiveMinimum", -kInfinity) ||
        number >= bound("exclusiveMaximum", kInfinity)) {
      return false;
    }
    const double quotient = number / bound("multipleOf", 1);
    return !schema.contains("multipleOf") || std::abs(quotient - std::round(quotient)) < 1e-6;
  }

  static bool fits_string(const Json& schema, const Json& value) {
    if (!value.is_string()) return true;
    const auto& text = value.get_ref<const std::string&>();
    size_t n = 0;
    for (std::string_view rest = text; !rest.empty(); ++n)
      rest.remove_prefix(utf8_step(rest).n_bytes);
    if (schema.contains("minLength") && n < schema["minLength"].get<size_t>()) return false;
    if (schema.contains("maxLength") && n > schema["maxLength"].get<size_t>()) return false;
    return !schema.contains("pattern") ||
           std::regex_search(text, std::regex(schema["pattern"].get<std::string>()));
  }

  bool fits_array(const Json& schema, const Json& value) const {
    if (!value.is_array()) return true;
    if (schema.contains("minItems") && value.size() < schema["minItems"].get<size_t>())
      return false;
    if (schema.contains("maxItems") && value.size() > schema["maxItems"].get<size_t>())
      return false;
    size_t n_prefix = 0;
    if (schema.contains("prefixItems")) {
      n_prefix = schema["prefixItems"].size();
      for (size_t i = 0; i < std::min(n_prefix, value.size()); ++i) {
        if (!fits(schema["prefixItems"][i], value[i])) return false;
      }
    }
    if (!schema.contains("items")) return true;
    for (size_t i = n_prefix; i < value.size(); ++i) {
      if (!fits(schema["items"], value[i])) return false;
    }
    return true;
  }

  bool fits_object(const Json& schema, const Json& value) const {
    if (!value.is_object()) return true;
    if (schema.contains("required")) {
      for (const Json& name : schema["required"]) {
        if (!value.contains(name.get<std::string>())) return false;
      }
    }
    for (const auto& [name, one] : value.items()) {
      if (schema.contains("properties") && schema["properties"].contains(name)) {
        if (!fits(schema["properties"][name], one)) return false;
      } else if (schema.contains("additionalProperties")) {
        if (!fits(schema["additionalProperties"], one)) return false;
      }
    }
    return true;
  }

  const Json root_;
};

}  // namespace varve
