#include "grammar/schema_keywords.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "formats/json_reader.h"

namespace varve {
namespace {

struct TypeName {
  std::string_view name;
  unsigned type;
};
constexpr std::array<TypeName, 7> kTypeNames = {{
    {"null", kNullType},
    {"boolean", kBooleanType},
    {"integer", kIntegerType},
    {"number", kNumberType},
    {"string", kStringType},
    {"array", kArrayType},
    {"object", kObjectType},
}};

constexpr unsigned kNumeric = kIntegerType | kNumberType;

// A keyword that constrains values of some types.
struct Keyword {
  std::string_view name;
  unsigned types;
  bool is_supported = true;
};
constexpr std::array kKeywords = {
    Keyword{"$ref", kAllTypes},
    Keyword{"$dynamicRef", kAllTypes, false},
    Keyword{"$recursiveRef", kAllTypes, false},
    Keyword{"allOf", kAllTypes},
    Keyword{"anyOf", kAllTypes},
    Keyword{"oneOf", kAllTypes},
    Keyword{"not", kAllTypes, false},
    Keyword{"if", kAllTypes, false},
    Keyword{"then", kAllTypes, false},
    Keyword{"else", kAllTypes, false},
    Keyword{"const", kAllTypes},
    Keyword{"enum", kAllTypes},
    Keyword{"type", kAllTypes},
    Keyword{"minimum", kNumeric},
    Keyword{"maximum", kNumeric},
    Keyword{"exclusiveMinimum", kNumeric},
    Keyword{"exclusiveMaximum", kNumeric},
    Keyword{"multipleOf", kNumeric},
    Keyword{"minLength", kStringType},
    Keyword{"maxLength", kStringType},
    Keyword{"pattern", kStringType},
    Keyword{"items", kArrayType},
    Keyword{"prefixItems", kArrayType},
    Keyword{"additionalItems", kArrayType},
    Keyword{"unevaluatedItems", kArrayType},
    Keyword{"minItems", kArrayType},
    Keyword{"maxItems", kArrayType},
    Keyword{"uniqueItems", kArrayType, false},
    Keyword{"contains", kArrayType, false},
    Keyword{"minContains", kArrayType, false},
    Keyword{"maxContains", kArrayType, false},
    Keyword{"properties", kObjectType},
    Keyword{"required", kObjectType},
    Keyword{"additionalProperties", kObjectType},
    Keyword{"unevaluatedProperties", kObjectType},
    Keyword{"minProperties", kObjectType},
    Keyword{"maxProperties", kObjectType},
    Keyword{"patternProperties", kObjectType, false},
    Keyword{"propertyNames", kObjectType, false},
    Keyword{"dependentRequired", kObjectType, false},
    Keyword{"dependentSchemas", kObjectType, false},
    Keyword{"dependencies", kObjectType, false},
};

const Keyword* find_keyword(std::string_view name) {
  const auto found = std::find_if(kKeywords.begin(), kKeywords.end(),
                                  [&](const Keyword& keyword) { return keyword.name == name; });
  return found == kKeywords.end() ? nullptr : &*found;
}

// Values of keywords that say nothing.
bool is_idle(const SchemaJson& value) {
  return value == false || (value.is_object() && value.empty());
}

// The beginning of a text, whole characters of it.
std::string_view cut_at(std::string_view text, size_t n_bytes) {
  if (text.size() <= n_bytes) return text;
  while (n_bytes > 0 && (static_cast<unsigned char>(text[n_bytes]) & 0xC0) == 0x80) --n_bytes;
  return text.substr(0, n_bytes);
}

std::string shown(const SchemaJson& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return fmt::format("an array of {}", value.size());
  if (value.is_string()) return in_quotes(value.get_ref<const std::string&>());
  return value.dump();
}

}  // namespace

std::string step_of(std::string_view path, std::string_view key) {
  std::string step(path);
  if (step.size() > kMaxPathBytes) return step;
  step += '/';
  const std::string_view name = cut_at(key, kMaxStepBytes);
  for (const char c : name) {
    if (c == '~') {
      step += "~0";
    } else if (c == '/') {
      step += "~1";
    } else {
      step += c;
    }
  }
  if (name.size() < key.size()) step += "...";
  if (step.size() > kMaxPathBytes) step += "/...";
  return step;
}

std::string path_of_reference(std::string_view reference) {
  const std::string_view shown = cut_at(reference, kMaxPathBytes);
  return shown.size() < reference.size() ? std::string(shown) + "..." : std::string(reference);
}

tl::unexpected<Error> wrong_keyword(std::string_view path, std::string_view key,
                                    std::string_view expected, const SchemaJson& found) {
  return schema_error(step_of(path, key), "expected {}, found {}", expected, shown(found));
}

Result<unsigned> types_of(const SchemaJson& schema, std::string_view path) {
  const auto field = schema.find("type");
  if (field == schema.end()) return kAllTypes;
  constexpr std::string_view kExpected =
      "one of null, boolean, integer, number, string, array, object, or an array of them";
  if (field->is_array() && field->size() > kTypeNames.size()) {
    return wrong_keyword(path, "type", kExpected, *field);
  }
  const SchemaJson names = field->is_array() ? *field : SchemaJson::array({*field});
  unsigned types = 0;
  for (const SchemaJson& name : names) {
    const auto found = std::find_if(kTypeNames.begin(), kTypeNames.end(),
                                    [&](const TypeName& one) { return name == one.name; });
    if (found == kTypeNames.end()) return wrong_keyword(path, "type", kExpected, name);
    types |= found->type;
  }
  if (types == 0) return wrong_keyword(path, "type", kExpected, *field);
  return types;
}

unsigned types_by_keywords(const SchemaJson& schema) {
  unsigned types = 0;
  for (const auto& [name, value] : schema.items()) {
    const Keyword* const keyword = find_keyword(name);
    if (keyword != nullptr && keyword->types != kAllTypes) types |= keyword->types;
    if (name == "format") types |= kStringType;
  }
  // A bound fits integers too.
  return (types & kNumberType) != 0 ? types & ~static_cast<unsigned>(kIntegerType) : types;
}

bool is_of_types(const SchemaJson& value, unsigned types) {
  const auto has = [&](unsigned type) { return (types & type) != 0; };
  switch (value.type()) {
    case SchemaJson::value_t::null:
      return has(kNullType);
    case SchemaJson::value_t::boolean:
      return has(kBooleanType);
    case SchemaJson::value_t::number_integer:
    case SchemaJson::value_t::number_unsigned:
      return has(kNumeric);
    case SchemaJson::value_t::number_float: {
      const auto number = value.get<double>();
      return has(kNumberType) || (has(kIntegerType) && number == std::floor(number));
    }
    case SchemaJson::value_t::string:
      return has(kStringType);
    case SchemaJson::value_t::array:
      return has(kArrayType);
    case SchemaJson::value_t::object:
      return has(kObjectType);
    default:
      return false;
  }
}

Result<void> refuse_unsupported(const SchemaJson& schema, std::string_view path, unsigned types) {
  for (const auto& [name, value] : schema.items()) {
    const Keyword* const keyword = find_keyword(name);
    if (keyword == nullptr || keyword->is_supported || (keyword->types & types) == 0) continue;
    if (name != "not" && is_idle(value)) continue;
    return schema_error(step_of(path, name), "the keyword `{}` is not supported", name);
  }
  return {};
}

Result<void> refuse_beside(const SchemaJson& schema, std::string_view path, std::string_view alone,
                           std::string_view allowed) {
  for (const auto& [name, value] : schema.items()) {
    if (name == alone || name == allowed || find_keyword(name) == nullptr) continue;
    return schema_error(path, "`{}` beside `{}` is not supported", name, alone);
  }
  return {};
}

}  // namespace varve
