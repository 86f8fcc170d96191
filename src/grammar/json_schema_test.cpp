#include "grammar/json_schema.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "grammar/test_constraint.h"
#include "tokenizer/utf8.h"

namespace varve {
namespace {

using Json = nlohmann::ordered_json;

std::string problem(std::string_view text) {
  const auto schema = read_json_schema(text);
  if (!schema) return schema.error().message;
  const auto grammar = grammar_of_schema(*schema);
  return grammar ? "none" : grammar.error().message;
}

bool fits(const std::string& schema, std::string_view text) {
  TestVocabulary& vocabulary = tiny_vocabulary();
  return fits(vocabulary, compiled(vocabulary, schema), text);
}

TEST(JsonSchema, SaysWhatItDoesNotTakeAndWhere) {
  EXPECT_EQ(problem("{").substr(0, 11), "the schema:");
  EXPECT_EQ(problem("[]"), "schema at `#`: expected an object, true or false, found []");
  EXPECT_EQ(problem(std::string(70'000, ' ')),
            "the schema: expected at most 65536 bytes, found 70000");
  EXPECT_EQ(problem(std::string(101, '[')), "the schema: nested deeper than 100");
  EXPECT_EQ(problem(R"({"not": {}})"), "schema at `#/not`: the keyword `not` is not supported");
  EXPECT_EQ(
      problem(R"({"properties": {"a/b": {"type": "array", "uniqueItems": true}}})"),
      "schema at `#/properties/a~1b/uniqueItems`: the keyword `uniqueItems` is not supported");
  EXPECT_EQ(
      problem(R"({"type": "text"})"),
      "schema at `#/type`: expected one of null, boolean, integer, number, string, array, object, "
      "or an array of them, found \"text\"");
  EXPECT_EQ(
      problem(R"({"$ref": "other.json"})"),
      "schema at `#/$ref`: expected a reference within the schema (`#/...`), found `other.json`");
  EXPECT_EQ(problem(R"({"$ref": "#/$defs/a"})"),
            "schema at `#/$ref`: there is nothing at `#/$defs/a`");
  EXPECT_EQ(problem(R"({"$ref": "#/$defs/a", "type": "string", "$defs": {"a": {}}})"),
            "schema at `#`: `type` beside `$ref` is not supported");
  EXPECT_EQ(problem(R"({"anyOf": [{"$ref": "#"}, {"type": "null"}]})"),
            "schema at `#`: it refers to itself without an object or an array in between");
  EXPECT_EQ(problem(R"({"properties": {"a": {"$ref": "#"}}, "required": ["a"]})"),
            "schema at `#`: no value that ends fits");
  EXPECT_EQ(problem("false"), "schema at `#`: no value that ends fits");
  EXPECT_EQ(
      problem(R"({"allOf": [{}, {}]})"),
      "schema at `#/allOf`: expected an array of one schema: more are not supported, found an "
      "array of 2");
  EXPECT_EQ(
      problem(R"({"oneOf": [{"type": "integer"}, {"type": "number"}]})"),
      "schema at `#/oneOf`: options 0 and 1 may both fit a value: expected ones of other types, "
      "or with a required property whose `const` or `enum` tells them apart");
  EXPECT_EQ(problem(R"({"enum": []})"),
            "schema at `#/enum`: expected an array of values, found an array of 0");
  EXPECT_EQ(problem(R"({"enum": [1], "type": "string"})"),
            "schema at `#/enum`: no value is of the `type` beside it");
  EXPECT_EQ(problem(R"({"type": "integer", "minimum": 3, "maximum": 2.5})"),
            "schema at `#`: no integer lies within the bounds");
  EXPECT_EQ(problem(R"({"type": "number", "minimum": 1, "exclusiveMaximum": 1})"),
            "schema at `#`: no number lies within the bounds");
  EXPECT_EQ(problem(R"({"type": "integer", "minimum": "3"})"),
            "schema at `#/minimum`: expected a number, found \"3\"");
  EXPECT_EQ(
      problem(R"({"type": "integer", "multipleOf": 7})"),
      "schema at `#/multipleOf`: expected a power of ten without bounds, or bounds with at most "
      "1000 multiples between them");
  EXPECT_EQ(problem(R"({"type": "string", "maxLength": -1})"),
            "schema at `#/maxLength`: expected an integer from 0 to 100000, found -1");
  EXPECT_EQ(problem(R"({"type": "string", "minLength": 3, "maxLength": 2})"),
            "schema at `#`: `maxLength` is below `minLength`");
  EXPECT_EQ(problem(R"x({"type": "string", "pattern": "a(?=b)"})x"),
            "schema at `#/pattern`: at byte 2 of the pattern: looking around (`(?=`) is not "
            "supported");
  EXPECT_EQ(problem(R"({"type": "string", "pattern": "a", "minLength": 3})"),
            "schema at `#`: `pattern` beside a length is not supported");
  EXPECT_EQ(problem(R"({"type": "object", "required": ["a"], "additionalProperties": false})"),
            "schema at `#/required`: `a` is none of the `properties`, and no others are allowed");
  EXPECT_EQ(problem(R"({"type": "object", "minProperties": 1})"),
            "schema at `#/minProperties`: expected at most the number of required properties, 0");
  EXPECT_EQ(problem(R"({"items": [{}, 3]})"),
            "schema at `#/items/1`: expected an object, true or false, found 3");
}

TEST(JsonSchema, RefusesWhatWouldTakeTooLong) {
  std::string many = R"({"properties": {)";
  for (int i = 0; i < 201; ++i) many += fmt::format(R"({}"p{}": {{}})", i > 0 ? "," : "", i);
  EXPECT_EQ(problem(many + "}}"),
            "schema at `#`: expected at most 200 properties that are not required");
  std::string lengths = R"({"prefixItems": [)";
  for (int i = 0; i < 5; ++i) {
    lengths += fmt::format(R"({}{{"type": "string", "maxLength": {}}})", i > 0 ? "," : "", 110 + i);
  }
  EXPECT_EQ(problem(lengths + "]}"),
            "schema at `#`: it is too large: lengths, patterns, bounds, names and values make "
            "more than 512 places");
  std::string options = R"({"oneOf": [)";
  for (int i = 0; i < 101; ++i) options += fmt::format(R"({}{{"const": {}}})", i > 0 ? "," : "", i);
  EXPECT_EQ(problem(options + "]}"),
            "schema at `#/oneOf`: expected at most 100 options, found 101");
  // References that lead on and on: neither the depth of the stack nor time.
  std::string chain = R"({"$ref": "#/$defs/d0", "$defs": {)";
  for (int i = 0; i < 1500; ++i)
    chain += fmt::format(R"("d{}": {{"$ref": "#/$defs/d{}"}},)", i, i + 1);
  EXPECT_EQ(problem(chain + R"("d1500": {"type": "null"}}})"), "none");
}

// A list of n, each made of its number.
template <class Make>
std::string list_of(int n, Make make) {
  std::string all;
  for (int i = 0; i < n; ++i) all += std::string(i > 0 ? "," : "") + make(i);
  return all;
}

std::string property(int i, std::string_view schema) {
  return fmt::format(R"("p{}": {})", i, schema);
}

TEST(JsonSchema, CountsWhatTakesMemory) {
  const std::string too_large =
      "schema at `#`: it is too large: lengths, patterns, bounds, names and values make more than "
      "512 places";
  const auto objects = [](int n, auto make) {
    return R"({"properties": {)" + list_of(n, [&](int i) { return property(i, make(i)); }) +
           R"(}, "additionalProperties": false, "required": [)" +
           list_of(n, [](int i) { return fmt::format("\"p{}\"", i); }) + "]}";
  };
  const auto integer = [](int i) {
    return fmt::format(R"({{"type": "integer", "minimum": {}, "maximum": {}}})", i, 1'234'567 + i);
  };
  EXPECT_EQ(problem(objects(120, integer)), "none");
  EXPECT_EQ(problem(objects(500, integer)), too_large);
  const auto multiples = [](int i) {
    return fmt::format(R"({{"type": "integer", "multipleOf": {}, "minimum": 0, "maximum": {}}})",
                       i + 7, (i + 7) * 900);
  };
  EXPECT_EQ(problem(objects(20, multiples)), "none");
  EXPECT_EQ(problem(objects(80, multiples)), too_large);
  const auto array = [](int i) {
    return fmt::format(R"({{"items": {{}}, "maxItems": {}}})", 129 + i);
  };
  EXPECT_EQ(problem(objects(150, array)), "none");
  EXPECT_EQ(problem(objects(256, array)), too_large);
  // Names are counted by their bytes, as often as they are written.
  const auto reference = [](int) { return std::string(R"({"type": "null"})"); };
  EXPECT_EQ(problem(objects(1000, reference)), "none");
  const auto length = [](int i) {
    return fmt::format(R"({{"type": "string", "maxLength": {}}})", 1000 + i);
  };
  EXPECT_EQ(problem(objects(2, length)), "none");
  EXPECT_EQ(problem(objects(3, length)), too_large);
}

TEST(JsonSchema, CountsOptions) {
  const auto options = [](int n) {
    return R"({"anyOf": [)" + list_of(n, [](int) { return R"({"type": "string"})"; }) + "]}";
  };
  EXPECT_EQ(problem(options(200)), "none");
  EXPECT_EQ(problem(options(201)),
            "schema at `#`: expected at most 200 options in all its `anyOf` and `oneOf`");
  // The same one is one; what fits everything is all of it.
  const auto same = [](int n, std::string_view what) {
    return R"({"$defs": {"a": )" + std::string(what) + R"(}, "anyOf": [)" +
           list_of(n, [](int) { return R"({"$ref": "#/$defs/a"})"; }) + "]}";
  };
  EXPECT_EQ(problem(same(1000, R"({"type": "null"})")), "none");
  EXPECT_EQ(problem(same(1000, "{}")), "none");
  const auto any = R"({"anyOf": [)" + list_of(1000, [](int) { return "{}"; }) + "]}";
  EXPECT_EQ(problem(any), "none");
  EXPECT_EQ(
      problem("{\"items\": {\"anyOf\": [" + list_of(20'000, [](int) { return "{}"; }) + "]}}"),
      "schema at `#/items`: values are described at more than 4096 places");
  const auto values = [](int n) {
    return R"({"enum": [)" + list_of(n, [](int i) { return std::to_string(i); }) + "]}";
  };
  EXPECT_EQ(problem(values(2000)), "none");
  EXPECT_EQ(problem(values(2001)),
            "schema at `#`: expected at most 2000 values in all its `enum` and `const`");
  const auto objects = [](int n) {
    const std::string properties = list_of(100, [](int i) { return property(i, "true"); });
    return R"({"prefixItems": [)" +
           list_of(n, [&](int) { return R"({"properties": {)" + properties + "}}"; }) + "]}";
  };
  EXPECT_EQ(problem(objects(20)), "none");
  EXPECT_EQ(problem(objects(21)),
            "schema at `#`: expected at most 2000 properties that are not required in all");
}

TEST(JsonSchema, BoundsWhatTellsOptionsApart) {
  // Two enums without a value in common, held against each other for each of the properties.
  const auto options = [](int n_values, int n_properties) {
    const auto option = [&](const std::string& of, const std::string& tag) {
      return R"({"type": "object", "properties": {)" +
             list_of(n_properties,
                     [&](int i) { return property(i, R"({"$ref": "#/$defs/)" + of + "\"}"); }) +
             R"(, "tag": {"const": ")" + tag + R"("}}, "required": ["tag",)" +
             list_of(n_properties, [](int i) { return fmt::format("\"p{}\"", i); }) + "]}";
    };
    // The last value is in both.
    const auto values = [&](int from) {
      return R"({"enum": [)" + list_of(n_values, [&](int i) { return std::to_string(from + i); }) +
             ",-1]}";
    };
    return R"({"oneOf": [)" + option("a", "x") + "," + option("b", "y") + R"(], "$defs": {"a": )" +
           values(0) + R"(, "b": )" + values(5000) + "}}";
  };
  EXPECT_EQ(problem(options(990, 5)), "none");
  EXPECT_EQ(problem(options(990, 6)),
            "schema at `#/oneOf`: too much to tell apart: more than 5000000 comparisons of values");
  EXPECT_EQ(problem(options(4000, 300)),
            "schema at `#/oneOf`: too much to tell apart: more than 5000000 comparisons of values");
  EXPECT_EQ(problem(R"({"type": [)" + list_of(8, [](int) { return R"("null")"; }) + "]}"),
            "schema at `#/type`: expected one of null, boolean, integer, number, string, array, "
            "object, or an array of them, found an array of 8");
}

TEST(JsonSchema, MultiplesStayWithinTheirBounds) {
  const auto taken = [](double min, double max, const std::string& text) {
    return fits(
        Json{{"type", "integer"}, {"multipleOf", 7}, {"minimum", min}, {"maximum", max}}.dump(),
        text);
  };
  EXPECT_TRUE(taken(-20, -3, "-14"));
  EXPECT_TRUE(taken(-21, -7, "-21"));
  EXPECT_TRUE(taken(-21, -7, "-7"));
  EXPECT_FALSE(taken(-20, -3, "-21"));
  EXPECT_FALSE(taken(-20, -3, "0"));
  EXPECT_TRUE(taken(-3, 3, "0"));
  EXPECT_TRUE(taken(1, 7, "7"));
  EXPECT_FALSE(taken(1, 7, "0"));
  const auto message = [](const std::string& min, const std::string& max) {
    return problem(R"({"type": "integer", "multipleOf": 7, "minimum": )" + min +
                   R"(, "maximum": )" + max + "}");
  };
  const std::string too_many =
      "schema at `#/multipleOf`: expected a power of ten without bounds, or bounds with at most "
      "1000 multiples between them";
  EXPECT_EQ(message("-1e300", "0"), too_many);
  EXPECT_EQ(message("0", "1e300"), too_many);
  EXPECT_EQ(message("-1e300", "1e300"), too_many);
  EXPECT_EQ(message("1e300", "1e300"),
            "schema at `#`: no integer of 64 bits lies within the bounds");
  EXPECT_EQ(message("-1e300", "-1e19"),
            "schema at `#`: no integer of 64 bits lies within the bounds");
  EXPECT_EQ(message("0", "6993"), "none");
  EXPECT_EQ(message("0", "7000"), too_many);
  EXPECT_EQ(message("-6", "-1"), "schema at `#`: no multiple lies within the bounds");
}

// Options that share what they lead to are written once: rules of texts would double at each level.
TEST(JsonSchema, OptionsOfOptionsStaySmall) {
  for (const std::string last :
       {R"({"const": 1})", R"({"type": "string", "maxLength": 0})", R"({"type": "integer"})"}) {
    std::string schema = R"({"$ref": "#/$defs/e0", "$defs": {)";
    for (int i = 0; i < 30; ++i) {
      schema += fmt::format(
          R"("e{0}": {{"anyOf": [{{"$ref": "#/$defs/a{0}"}}, {{"$ref": "#/$defs/b{0}"}}]}},
             "a{0}": {{"anyOf": [{{"$ref": "#/$defs/e{1}"}}, {{"const": "a"}}]}},
             "b{0}": {{"anyOf": [{{"$ref": "#/$defs/e{1}"}}, {{"const": "b"}}]}},)",
          i, i + 1);
    }
    TestVocabulary& vocabulary = tiny_vocabulary();
    const CompiledGrammar grammar = compiled(vocabulary, schema + R"("e30": )" + last + "}}");
    EXPECT_TRUE(fits(vocabulary, grammar, R"("b")"));
    EXPECT_LT(grammar.bytes(), size_t{4} << 20);
  }
}

TEST(JsonSchema, UsualSchemasAreTaken) {
  Json schema = {{"type", "object"}, {"additionalProperties", false}};
  for (int i = 0; i < 50; ++i) {
    const std::string name = fmt::format("a_usual_property_{}", i);
    schema["properties"][name] =
        i % 3 == 0 ? Json{{"type", "integer"}, {"minimum", 0}, {"maximum", 10 * i + 10}}
                   : Json{{"type", i % 3 == 1 ? Json("string") : Json{"string", "null"}}};
    schema["required"].push_back(name);
  }
  for (int i = 0; i < 100; ++i) {
    schema["properties"]["kind"]["enum"].push_back(fmt::format("one-of-a-hundred-{}", i));
  }
  const Json person = {
      {"type", "object"},
      {"properties",
       {{"id", {{"type", "string"}, {"format", "uuid"}}},
        {"at", {{"type", "string"}, {"format", "date-time"}}},
        {"score", {{"type", "number"}, {"minimum", 0}, {"maximum", 1}}},
        {"tags", {{"type", "array"}, {"items", {{"type", "string"}}}, {"maxItems", 20}}}}},
      {"required", {"id", "at"}}};
  schema["properties"]["people"] = {{"type", "array"}, {"items", person}};
  schema["properties"]["summary"] = {{"type", "string"}, {"maxLength", 100}};
  EXPECT_EQ(problem(schema.dump()), "none");
}

TEST(JsonSchema, KeepsPlacesShort) {
  const auto tuple = [](int n) {
    std::string items;
    for (int i = 0; i < n; ++i) items += i > 0 ? ",{}" : "{}";
    return R"({"prefixItems": [)" + items + "]}";
  };
  EXPECT_TRUE(read_json_schema(tuple(4095)));
  EXPECT_EQ(problem(tuple(4096)), "schema at `#`: values are described at more than 4096 places");
  const std::string tildes(32'000, '~');
  const auto schema =
      read_json_schema(fmt::format(R"({{"properties": {{"{}": {}}}}})", tildes, tuple(4000)));
  ASSERT_TRUE(schema);
  for (const Shape& shape : schema->shapes) EXPECT_LT(shape.path.size(), 200u);
  const auto with_name = [](const std::string& name) {
    return problem(fmt::format(R"({{"properties": {{"{}": 3}}}})", name));
  };
  const std::string longest(64, 'n');
  const std::string expected = ": expected an object, true or false, found 3";
  EXPECT_EQ(with_name(longest), "schema at `#/properties/" + longest + "`" + expected);
  EXPECT_EQ(with_name(longest + "n"), "schema at `#/properties/" + longest + "...`" + expected);
  EXPECT_EQ(with_name(longest.substr(1) + "ä"),
            "schema at `#/properties/" + longest.substr(1) + "...`" + expected);
  std::string deep = "3";
  for (int i = 0; i < 40; ++i) deep = R"({"properties": {")" + longest + R"(": )" + deep + "}}";
  EXPECT_LT(problem(deep).size(), 700u);
  EXPECT_NE(problem(deep).find("/...`"), std::string::npos);
  const std::string target(1000, 't');
  EXPECT_LT(problem(R"({"$ref": "#/)" + target + R"(", ")" + target + R"(": 3})").size(), 700u);
}

TEST(JsonSchema, AnnotationsAndUnknownKeywordsSayNothing) {
  EXPECT_EQ(
      problem(R"({"$schema": "x", "title": "T", "description": "D", "default": 3, "examples": [],
                        "x-order": 1, "type": "integer", "uniqueItems": true, "minLength": 5})"),
      "none");
  EXPECT_EQ(
      problem(R"({"$ref": "#/$defs/a", "description": "D", "$defs": {"a": {"type": "null"}}})"),
      "none");
}

// ---- what fits

TEST(JsonSchema, ObjectsHaveTheirPropertiesInOrder) {
  const std::string schema =
      R"({"type": "object", "properties": {"b": {"type": "integer"}, "a": {"type": "null"},
          "c": {"type": "boolean"}}, "required": ["a"]})";
  EXPECT_TRUE(fits(schema, R"({"a":null})"));
  EXPECT_TRUE(fits(schema, R"({"b": 1, "a": null, "c": true})"));
  EXPECT_TRUE(fits(schema, "{\n  \"a\": null,\n  \"c\": false\n}"));
  EXPECT_FALSE(fits(schema, R"({"b":1})"));
  EXPECT_FALSE(fits(schema, R"({"a":null,"b":1})"));
  EXPECT_FALSE(fits(schema, R"({"a":null,"d":1})"));
  EXPECT_FALSE(fits(schema, R"({"a":null,})"));
  EXPECT_FALSE(fits(schema, R"({"a":null} )"));
  EXPECT_FALSE(fits(schema, "{\t\"a\":null}"));
  EXPECT_TRUE(fits(R"({"type": "object"})", R"({"x":{"y":[1,"z",{}]},"x":[]})"));
  EXPECT_TRUE(fits(R"({"required": ["x"]})", R"({"x":1,"y":2})"));
  EXPECT_FALSE(fits(R"({"required": ["x"]})", R"({"y":2})"));
}

TEST(JsonSchema, OtherPropertiesHaveOtherNames) {
  const std::string schema =
      R"({"properties": {"name": {"type": "null"}, "nä": {"type": "null"}, "": {"type": "null"}},
          "additionalProperties": {"type": "integer"}})";
  EXPECT_TRUE(fits(schema, R"({"name":null,"nam":1,"names":2,"n":3,"nä?":4})"));
  EXPECT_TRUE(fits(schema, R"({"x":1})"));
  EXPECT_FALSE(fits(schema, R"({"name":1})"));
  EXPECT_FALSE(fits(schema, R"({"nä":1})"));
  EXPECT_FALSE(fits(schema, R"({"":1})"));
  // The same name by an escape.
  EXPECT_FALSE(fits(schema, R"({"\u006eame":1})"));
  EXPECT_FALSE(fits(schema, R"({"x":null})"));
}

TEST(JsonSchema, ArraysAreAsLongAsTheyMayBe) {
  const std::string schema = R"({"items": {"type": "integer"}, "minItems": 2, "maxItems": 3})";
  EXPECT_FALSE(fits(schema, "[1]"));
  EXPECT_TRUE(fits(schema, "[1,2]"));
  EXPECT_TRUE(fits(schema, "[1, 2,\n 3]"));
  EXPECT_FALSE(fits(schema, "[1,2,3,4]"));
  EXPECT_FALSE(fits(schema, R"([1,"2"])"));
  const std::string tuple =
      R"({"prefixItems": [{"type": "null"}, {"type": "boolean"}], "items": {"type": "integer"},
          "minItems": 1, "maxItems": 4})";
  EXPECT_FALSE(fits(tuple, "[]"));
  EXPECT_TRUE(fits(tuple, "[null]"));
  EXPECT_TRUE(fits(tuple, "[null,true,3,4]"));
  EXPECT_FALSE(fits(tuple, "[null,3]"));
  EXPECT_FALSE(fits(tuple, "[null,true,3,4,5]"));
  EXPECT_TRUE(fits(R"({"type": "array"})", R"([1,[],"x"])"));
  EXPECT_TRUE(fits(R"({"items": false})", "[]"));
  EXPECT_FALSE(fits(R"({"items": false})", "[1]"));
  // An item that cannot be ends the array before it.
  EXPECT_TRUE(fits(R"({"prefixItems": [{"type": "null"}, false]})", "[null]"));
  EXPECT_FALSE(fits(R"({"prefixItems": [{"type": "null"}, false]})", "[null,1]"));
}

TEST(JsonSchema, StringsAreCountedInCharacters) {
  const std::string schema = R"({"type": "string", "minLength": 2, "maxLength": 3})";
  EXPECT_FALSE(fits(schema, R"("a")"));
  EXPECT_TRUE(fits(schema, R"("äö")"));
  EXPECT_TRUE(fits(schema, R"("😀\n中")"));
  EXPECT_FALSE(fits(schema, R"("abcd")"));
  EXPECT_FALSE(fits(schema, R"("\ud83d\ude00")"));  // one character by two escapes
  const std::string any = R"({"type": "string"})";
  EXPECT_TRUE(fits(any, R"("\"\\\/\b\f\n\r\té\u00e9")"));
  EXPECT_FALSE(fits(any, "\"\t\""));
  EXPECT_FALSE(fits(any, R"("\x")"));
  EXPECT_FALSE(fits(any, R"("\ud800")"));
  EXPECT_FALSE(fits(any, "\"\xE0\x80\x80\""));  // not UTF-8
  EXPECT_FALSE(fits(any, "\"\xED\xA0\x80\""));
  EXPECT_FALSE(fits(any, "\"\xF0\x80\x80\x80\""));
  EXPECT_TRUE(fits(any, "\"\xEF\xBF\xBD\xF0\x90\x80\x80\""));
  const std::string longer = R"({"type": "string", "minLength": 130, "maxLength": 140})";
  for (const size_t n : {129u, 130u, 140u, 141u}) {
    EXPECT_EQ(fits(longer, '"' + std::string(n, 'x') + '"'), n >= 130 && n <= 140) << n;
  }
  const std::string at_least = R"({"type": "string", "minLength": 2})";
  EXPECT_FALSE(fits(at_least, R"("x")"));
  EXPECT_TRUE(fits(at_least, R"("xyz\n")"));
  EXPECT_TRUE(fits(R"({"type": "string", "maxLength": 0})", R"("")"));
}

TEST(JsonSchema, TypesLiteralsAndOptions) {
  const std::string types = R"({"type": ["string", "null"], "minLength": 1, "minimum": 3})";
  EXPECT_TRUE(fits(types, "null"));
  EXPECT_TRUE(fits(types, R"("x")"));
  EXPECT_FALSE(fits(types, R"("")"));
  EXPECT_FALSE(fits(types, "5"));
  const std::string literals =
      R"({"enum": ["a\"b", 1, null, {"k": [true]}], "type": ["string", "object"]})";
  EXPECT_TRUE(fits(literals, R"("a\"b")"));
  EXPECT_TRUE(fits(literals, R"({"k":[true]})"));
  EXPECT_FALSE(fits(literals, "1"));
  EXPECT_FALSE(fits(literals, "null"));
  const std::string tagged =
      R"({"oneOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}], "$defs": {
          "a": {"type": "object", "properties": {"k": {"const": "a"}, "n": {"type": "integer"}}, "required": ["k"]},
          "b": {"type": "object", "properties": {"k": {"const": "b"}}, "required": ["k"]}}})";
  EXPECT_TRUE(fits(tagged, R"({"k":"a","n":1})"));
  EXPECT_TRUE(fits(tagged, R"({"k":"b"})"));
  EXPECT_FALSE(fits(tagged, R"({"k":"b","n":1})"));
  EXPECT_TRUE(
      fits(R"({"type": "integer", "minimum": -20, "maximum": 20, "multipleOf": 6})", "-18"));
  EXPECT_FALSE(
      fits(R"({"type": "integer", "minimum": -20, "maximum": 20, "multipleOf": 6})", "-20"));
  EXPECT_TRUE(fits(R"({"type": "integer", "multipleOf": 100})", "1200"));
  EXPECT_FALSE(fits(R"({"type": "integer", "multipleOf": 100})", "1250"));
}

TEST(JsonSchema, LiteralsHaveAnyCharacters) {
  for (uint32_t code_point = 0; code_point < 0x11000; code_point += code_point < 0x100 ? 1 : 0xFF) {
    if (code_point >= 0xD800 && code_point <= 0xDFFF) continue;
    std::string text = "x";
    append_utf8(code_point, text);
    const std::string literal = Json(text).dump();
    const std::string schema = Json{{"enum", {text, "x"}}}.dump();
    EXPECT_TRUE(fits(schema, literal)) << literal;
    EXPECT_TRUE(fits(schema, "\"x\""));
    EXPECT_FALSE(fits(schema, "\"xy_\""));
  }
}

TEST(JsonSchema, ReferencesMayRunInCircles) {
  const std::string list =
      R"({"type": "object", "properties": {"v": {"type": "integer"},
          "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["next"]})";
  EXPECT_TRUE(fits(list, R"({"v":1,"next":{"v":2,"next":{"next":null}}})"));
  EXPECT_FALSE(fits(list, R"({"v":1,"next":{"v":2}})"));
  // A property that never ends is left out.
  EXPECT_TRUE(fits(R"({"properties": {"a": {"$ref": "#/$defs/e"}, "b": {"type": "null"}},
                       "$defs": {"e": {"properties": {"e": {"$ref": "#/$defs/e"}}, "required": ["e"]}}})",
                   R"({"b":null})"));
}

}  // namespace
}  // namespace varve
