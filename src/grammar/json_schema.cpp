#include "grammar/json_schema.h"

#include <algorithm>
#include <deque>
#include <exception>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "formats/json_text.h"
#include "grammar/schema_keywords.h"
#include "grammar/schema_values.h"

namespace varve {
namespace {

// Whether brackets outside of strings are nested deeper than that.
bool is_deeper(std::string_view json, int depth_limit) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > depth_limit) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

Result<SchemaJson> parse(std::string_view text) {
  if (text.size() > kMaxSchemaBytes) {
    return bad_input("the schema: expected at most {} bytes, found {}", kMaxSchemaBytes,
                     text.size());
  }
  if (is_deeper(text, kMaxSchemaDepth)) {
    return bad_input("the schema: nested deeper than {}", kMaxSchemaDepth);
  }
  try {
    return SchemaJson::parse(text);
  } catch (const SchemaJson::parse_error& error) {
    return bad_input("the schema: {}", json_problem(error, error.byte));
  } catch (const SchemaJson::exception& error) {
    return bad_input("the schema: {}", json_problem(error, 0));
  }
}

class SchemaReader {
 public:
  explicit SchemaReader(const SchemaJson& root) : root_(root) {}

  Result<JsonSchema> read();

 private:
  struct Waiting {
    const SchemaJson* json;
    ShapeId id;
  };

  /// The shape of a schema that stands in the text, read now or later: once for each place, so that
  /// references may run in circles.
  ShapeId shape_of(const SchemaJson& json, std::string path);
  /// A shape that has no schema of its own.
  ShapeId add(Shape shape) {
    shapes_.push_back(std::move(shape));
    return static_cast<ShapeId>(shapes_.size() - 1);
  }

  Result<Shape> read_shape(const SchemaJson& json, const std::string& path);
  Result<Shape> read_reference(const SchemaJson& schema, const std::string& path);
  Result<Shape> read_all_of(const SchemaJson& schema, const std::string& path);
  Result<Shape> read_options(const SchemaJson& schema, const std::string& path,
                             const std::string& key);
  Result<Shape> read_type(const SchemaJson& schema, const std::string& path, unsigned type);
  Result<Shape> read_array(const SchemaJson& schema, const std::string& path);
  Result<Shape> read_object(const SchemaJson& schema, const std::string& path);
  Result<void> read_properties(const SchemaJson& schema, const std::string& path,
                               ObjectShape& object);
  Result<void> read_required(const SchemaJson& schema, const std::string& path,
                             ObjectShape& object);
  Result<const SchemaJson*> target_of(std::string_view reference, const std::string& path) const;
  /// Whether no value fits two of the options of a oneOf.
  bool are_apart(const SchemaJson& one, const SchemaJson& other) const;
  const SchemaJson& resolved(const SchemaJson& schema) const;
  /// Values of `const` or `enum`, behind references.
  struct Literals {
    const SchemaJson* all = nullptr;
    bool is_enum = false;  // its elements; `all` itself if not

    size_t size() const { return is_enum ? all->size() : 1; }
    const SchemaJson& at(size_t i) const { return is_enum ? (*all)[i] : *all; }
  };
  std::optional<Literals> literals_of(const SchemaJson& schema) const;
  /// Also false when that would take too many comparisons: then n_comparisons_ says so.
  bool literals_differ(const Literals& left, const Literals& right) const;
  bool tells_apart(const SchemaJson& one, const SchemaJson& other) const;

  const SchemaJson& root_;
  std::vector<Shape> shapes_;
  std::unordered_map<const SchemaJson*, ShapeId> ids_;
  std::deque<Waiting> waiting_;
  mutable std::unordered_map<const SchemaJson*, const SchemaJson*> resolved_;
  mutable size_t n_comparisons_ = 0;  // for all options of `oneOf`
};

Result<JsonSchema> SchemaReader::read() {
  shape_of(root_, "#");
  while (!waiting_.empty()) {
    const Waiting next = waiting_.front();
    waiting_.pop_front();
    const std::string path = shapes_[static_cast<size_t>(next.id)].path;
    VARVE_TRY(Shape shape, read_shape(*next.json, path));
    shapes_[static_cast<size_t>(next.id)] = std::move(shape);
    if (shapes_.size() > kMaxShapes) {
      return schema_error(path, "values are described at more than {} places", kMaxShapes);
    }
  }
  return JsonSchema{std::move(shapes_)};
}

ShapeId SchemaReader::shape_of(const SchemaJson& json, std::string path) {
  if (shapes_.size() > kMaxShapes) return 0;  // read() refuses it
  const auto [found, is_new] = ids_.try_emplace(&json, static_cast<ShapeId>(shapes_.size()));
  if (is_new) {
    waiting_.push_back({&json, add({AnyShape{}, std::move(path)})});
  }
  return found->second;
}

Result<Shape> SchemaReader::read_shape(const SchemaJson& json, const std::string& path) {
  if (json.is_boolean()) {
    if (json.get<bool>()) return Shape{AnyShape{}, path};
    return Shape{EitherShape{}, path};
  }
  if (!json.is_object()) {
    return schema_error(path, "expected an object, true or false, found {}", json.dump());
  }
  VARVE_TRY(unsigned types, types_of(json, path));
  if (!json.contains("type")) {
    const unsigned meant = types_by_keywords(json);
    if (meant != 0) types = meant;
  }
  VARVE_CHECKED(refuse_unsupported(json, path, types));
  if (json.contains("$ref")) return read_reference(json, path);
  if (json.contains("allOf")) return read_all_of(json, path);
  for (const std::string key : {"anyOf", "oneOf"}) {
    if (json.contains(key)) return read_options(json, path, key);
  }
  if (json.contains("const") || json.contains("enum")) {
    VARVE_TRY(LiteralShape literals, read_literals(json, path));
    return Shape{std::move(literals), path};
  }
  if (types == kAllTypes) return Shape{AnyShape{}, path};
  // All numbers are those that are integers too.
  if ((types & kNumberType) != 0) types &= ~static_cast<unsigned>(kIntegerType);
  if ((types & (types - 1)) == 0) return read_type(json, path, types);
  EitherShape either;
  for (unsigned type = 1; type < kAllTypes; type *= 2) {
    if ((types & type) == 0) continue;
    VARVE_TRY(Shape shape, read_type(json, path, type));
    either.options.push_back(add(std::move(shape)));
  }
  return Shape{std::move(either), path};
}

Result<const SchemaJson*> SchemaReader::target_of(std::string_view reference,
                                                  const std::string& path) const {
  const std::string place = step_of(path, "$ref");
  if (!reference.starts_with('#') || (reference.size() > 1 && reference[1] != '/')) {
    return schema_error(place, "expected a reference within the schema (`#/...`), found `{}`",
                        reference);
  }
  const SchemaJson* target = nullptr;
  try {
    const SchemaJson::json_pointer pointer{std::string(reference.substr(1))};
    if (root_.contains(pointer)) target = &root_.at(pointer);
  } catch (const SchemaJson::exception&) {
    target = nullptr;  // it is spelt wrong
  }
  if (target == nullptr) return schema_error(place, "there is nothing at `{}`", reference);
  return target;
}

Result<Shape> SchemaReader::read_reference(const SchemaJson& schema, const std::string& path) {
  VARVE_CHECKED(refuse_beside(schema, path, "$ref"));
  const SchemaJson& field = *schema.find("$ref");
  if (!field.is_string()) return wrong_keyword(path, "$ref", "a string", field);
  const auto& reference = field.get_ref<const std::string&>();
  VARVE_TRY(const SchemaJson* const target, target_of(reference, path));
  return Shape{EitherShape{{shape_of(*target, path_of_reference(reference))}}, path};
}

Result<Shape> SchemaReader::read_all_of(const SchemaJson& schema, const std::string& path) {
  VARVE_CHECKED(refuse_beside(schema, path, "allOf"));
  const SchemaJson& all = *schema.find("allOf");
  if (!all.is_array() || all.size() != 1) {
    return wrong_keyword(path, "allOf", "an array of one schema: more are not supported", all);
  }
  return Shape{EitherShape{{shape_of(all[0], step_of(step_of(path, "allOf"), "0"))}}, path};
}

Result<Shape> SchemaReader::read_options(const SchemaJson& schema, const std::string& path,
                                         const std::string& key) {
  VARVE_CHECKED(refuse_beside(schema, path, key));
  const SchemaJson& options = *schema.find(key);
  if (!options.is_array() || options.empty()) {
    return wrong_keyword(path, key, "an array of schemas", options);
  }
  const std::string place = step_of(path, key);
  if (key == "oneOf" && options.size() > kMaxOneOf) {
    return schema_error(place, "expected at most {} options, found {}", kMaxOneOf, options.size());
  }
  EitherShape either;
  for (size_t i = 0; i < options.size(); ++i) {
    either.options.push_back(shape_of(options[i], step_of(place, std::to_string(i))));
    for (size_t j = 0; key == "oneOf" && j < i; ++j) {
      if (are_apart(options[j], options[i])) continue;
      if (n_comparisons_ > kMaxComparisons) {
        return schema_error(place, "too much to tell apart: more than {} comparisons of values",
                            kMaxComparisons);
      }
      return schema_error(
          place,
          "options {} and {} may both fit a value: expected ones of other types, or "
          "with a required property whose `const` or `enum` tells them apart",
          j, i);
    }
  }
  return Shape{std::move(either), path};
}

// Behind references, as far as they lead to something; what is no schema is told of when it is
// read.
const SchemaJson& SchemaReader::resolved(const SchemaJson& schema) const {
  std::vector<const SchemaJson*> passed;
  const SchemaJson* at = &schema;
  for (int i = 0; i < kMaxSchemaDepth; ++i) {
    if (const auto known = resolved_.find(at); known != resolved_.end()) {
      at = known->second;
      break;
    }
    passed.push_back(at);
    const auto field = at->is_object() ? at->find("$ref") : at->end();
    if (field == at->end() || !field->is_string()) break;
    const auto target = target_of(field->get_ref<const std::string&>(), "#");
    if (!target) break;
    at = *target;
  }
  for (const SchemaJson* const one : passed) resolved_[one] = at;
  return *at;
}

auto SchemaReader::literals_of(const SchemaJson& schema) const -> std::optional<Literals> {
  const SchemaJson& values = resolved(schema);
  if (!values.is_object()) return std::nullopt;
  if (values.contains("const")) return Literals{&values["const"], false};
  if (values.contains("enum") && values["enum"].is_array()) return Literals{&values["enum"], true};
  return std::nullopt;
}

bool SchemaReader::literals_differ(const Literals& left, const Literals& right) const {
  n_comparisons_ += left.size() * right.size();
  if (n_comparisons_ > kMaxComparisons) return false;
  for (size_t i = 0; i < left.size(); ++i) {
    for (size_t j = 0; j < right.size(); ++j) {
      if (left.at(i) == right.at(j)) return false;
    }
  }
  return true;
}

// Of two objects: whether a property that both require tells which one it is.
bool SchemaReader::tells_apart(const SchemaJson& one, const SchemaJson& other) const {
  const auto names_of = [](const SchemaJson& schema) {
    std::unordered_set<std::string_view> names;
    const auto required = schema.find("required");
    if (required == schema.end() || !required->is_array()) return names;
    for (const SchemaJson& name : *required) {
      if (name.is_string()) names.insert(name.get_ref<const std::string&>());
    }
    return names;
  };
  const auto properties = one.find("properties");
  const auto others = other.find("properties");
  if (properties == one.end() || others == other.end() || !properties->is_object() ||
      !others->is_object()) {
    return false;
  }
  n_comparisons_ += properties->size();
  for (const auto* const schema : {&one, &other}) {
    if (const auto required = schema->find("required"); required != schema->end()) {
      n_comparisons_ += required->size();
    }
  }
  if (n_comparisons_ > kMaxComparisons) return false;
  const auto required = names_of(one);
  const auto also = names_of(other);
  for (const auto& [name, value] : properties->items()) {
    if (!required.contains(name) || !also.contains(name)) continue;
    // Looking for a name goes through all of them.
    n_comparisons_ += others->size();
    if (n_comparisons_ > kMaxComparisons) return false;
    const auto twin = others->find(name);
    if (twin == others->end()) continue;
    const auto left = literals_of(value);
    const auto right = literals_of(*twin);
    if (left && right && literals_differ(*left, *right)) return true;
  }
  return false;
}

bool SchemaReader::are_apart(const SchemaJson& one, const SchemaJson& other) const {
  const SchemaJson& a = resolved(one);
  const SchemaJson& b = resolved(other);
  if (!a.is_object() || !b.is_object()) return false;
  const auto a_literals = literals_of(a);
  const auto b_literals = literals_of(b);
  if (a_literals && b_literals) return literals_differ(*a_literals, *b_literals);
  const auto a_types = types_of(a, "#");
  const auto b_types = types_of(b, "#");
  if (!a_types || !b_types) return false;
  constexpr unsigned kNumeric = kIntegerType | kNumberType;
  const auto widened = [](unsigned types) {
    return (types & kNumeric) != 0 ? types | kNumeric : types;
  };
  if ((widened(*a_types) & widened(*b_types)) == 0) return true;
  return *a_types == kObjectType && *b_types == kObjectType && tells_apart(a, b);
}

Result<Shape> SchemaReader::read_type(const SchemaJson& schema, const std::string& path,
                                      unsigned type) {
  switch (type) {
    case kNullType:
      return Shape{LiteralShape{{"null"}}, path};
    case kBooleanType:
      return Shape{LiteralShape{{"true", "false"}}, path};
    case kIntegerType: {
      VARVE_TRY(RegexShape regex, read_integer(schema, path));
      return Shape{std::move(regex), path};
    }
    case kNumberType: {
      VARVE_TRY(RegexShape regex, read_number(schema, path));
      return Shape{std::move(regex), path};
    }
    case kStringType:
      return read_string(schema, path);
    case kArrayType:
      return read_array(schema, path);
    default:
      return read_object(schema, path);
  }
}

Result<Shape> SchemaReader::read_array(const SchemaJson& schema, const std::string& path) {
  ArrayShape array;
  // Older schemas have the prefix in `items`, and what follows it in `additionalItems`.
  const bool is_old = schema.contains("items") && schema["items"].is_array();
  const std::string prefix_key = is_old ? "items" : "prefixItems";
  std::string items_key = is_old ? "additionalItems" : "items";
  if (!schema.contains(items_key)) items_key = "unevaluatedItems";
  if (schema.contains(prefix_key)) {
    const SchemaJson& prefix = schema[prefix_key];
    if (!prefix.is_array()) return wrong_keyword(path, prefix_key, "an array of schemas", prefix);
    const std::string place = step_of(path, prefix_key);
    for (size_t i = 0; i < prefix.size(); ++i) {
      array.prefix.push_back(shape_of(prefix[i], step_of(place, std::to_string(i))));
    }
  }
  if (schema.contains(items_key)) {
    array.items = shape_of(schema[items_key], step_of(path, items_key));
  } else if (array.prefix.empty()) {
    array.items = add({AnyShape{}, path});
  }
  VARVE_TRY(array.min, read_count(schema, path, "minItems", 0));
  if (schema.contains("maxItems")) {
    VARVE_TRY(array.max, read_count(schema, path, "maxItems", 0));
    if (*array.max < array.min) return schema_error(path, "`maxItems` is below `minItems`");
  }
  return Shape{std::move(array), path};
}

Result<void> SchemaReader::read_properties(const SchemaJson& schema, const std::string& path,
                                           ObjectShape& object) {
  if (!schema.contains("properties")) return {};
  const SchemaJson& properties = schema["properties"];
  if (!properties.is_object()) return wrong_keyword(path, "properties", "an object", properties);
  const std::string place = step_of(path, "properties");
  for (const auto& [name, value] : properties.items()) {
    object.properties.push_back({name, shape_of(value, step_of(place, name)), false});
  }
  return {};
}

Result<void> SchemaReader::read_required(const SchemaJson& schema, const std::string& path,
                                         ObjectShape& object) {
  if (!schema.contains("required")) return {};
  const SchemaJson& required = schema["required"];
  if (!required.is_array()) return wrong_keyword(path, "required", "an array of names", required);
  std::unordered_map<std::string, size_t> places;
  for (size_t i = 0; i < object.properties.size(); ++i) places[object.properties[i].name] = i;
  for (const SchemaJson& name : required) {
    if (!name.is_string()) return wrong_keyword(path, "required", "an array of names", name);
    const auto& text = name.get_ref<const std::string&>();
    const auto [found, is_new] = places.try_emplace(text, object.properties.size());
    if (!is_new) {
      object.properties[found->second].is_required = true;
      continue;
    }
    if (!object.others) {
      return schema_error(step_of(path, "required"),
                          "`{}` is none of the `properties`, and no others are allowed", text);
    }
    object.properties.push_back({text, *object.others, true});
  }
  return {};
}

Result<Shape> SchemaReader::read_object(const SchemaJson& schema, const std::string& path) {
  ObjectShape object;
  VARVE_CHECKED(read_properties(schema, path, object));
  const bool is_said = schema.contains("additionalProperties");
  const std::string key = is_said ? "additionalProperties" : "unevaluatedProperties";
  if (schema.contains(key)) {
    if (schema[key] != false) object.others = shape_of(schema[key], step_of(path, key));
    VARVE_CHECKED(read_required(schema, path, object));
  } else {
    // Anything may stand there; others than the required ones only where nothing is described.
    const bool is_open = object.properties.empty();
    object.others = add({AnyShape{}, path});
    VARVE_CHECKED(read_required(schema, path, object));
    if (!is_open) object.others.reset();
  }
  VARVE_TRY(const int64_t min, read_count(schema, path, "minProperties", 0));
  const auto n_required = std::count_if(object.properties.begin(), object.properties.end(),
                                        [](const auto& property) { return property.is_required; });
  if (min > n_required) {
    return schema_error(step_of(path, "minProperties"),
                        "expected at most the number of required properties, {}", n_required);
  }
  const auto n_all = static_cast<int64_t>(object.properties.size());
  VARVE_TRY(const int64_t max, read_count(schema, path, "maxProperties", n_all));
  if (max < n_all || (object.others && schema.contains("maxProperties"))) {
    return schema_error(step_of(path, "maxProperties"),
                        "expected at least the number of properties, {}, and no others", n_all);
  }
  return Shape{std::move(object), path};
}

}  // namespace

Result<JsonSchema> read_json_schema(std::string_view text) {
  VARVE_TRY(const SchemaJson root, parse(text));
  return SchemaReader(root).read();
}

}  // namespace varve
