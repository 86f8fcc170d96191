#include "grammar/json_schema.h"

#include <gtest/gtest.h>

#include "grammar/test_constraint.h"

namespace varve {
namespace {

std::string problem(std::string_view text) {
  const auto schema = read_json_schema(text);
  if (!schema) return schema.error().message;
  const auto grammar = grammar_of_schema(*schema);
  return grammar ? "none" : grammar.error().message;
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
  EXPECT_EQ(
      problem(lengths + "]}"),
      "schema at `#`: it is too large: lengths, patterns and names make more than 512 places");
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

bool fits(const std::string& schema, std::string_view text) {
  TestVocabulary& vocabulary = tiny_vocabulary();
  return fits(vocabulary, compiled(vocabulary, schema), text);
}

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
