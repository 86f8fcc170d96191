#include "formats/json_reader.h"

#include <gtest/gtest.h>

#include <fstream>

namespace varve {
namespace {

JsonObject parsed(std::string_view text) {
  return JsonObject::parse(text, "c.json").value();
}

template <class T>
std::string message(const Result<T>& result) {
  return result ? "no error" : result.error().message;
}

TEST(JsonObject, ReadsEachType) {
  const JsonObject o = parsed(R"({"i":7,"f":2.5,"e":1e-6,"round":4096.0,"b":true,"s":"x","n":null,)"
                              R"("is":[1,2.0],"ss":["a","b"],"o":{"p":{"q":-3}}})");
  EXPECT_EQ(o.integer("i").value(), 7);
  EXPECT_EQ(o.integer("round").value(), 4096);
  EXPECT_EQ(o.number("f").value(), 2.5);
  EXPECT_EQ(o.number("i").value(), 7.0);
  EXPECT_EQ(o.number("e").value(), 1e-6);
  EXPECT_TRUE(o.boolean("b").value());
  EXPECT_EQ(o.string("s").value(), "x");
  EXPECT_EQ(o.integers("is").value(), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(o.strings("ss").value(), (std::vector<std::string>{"a", "b"}));
  const JsonObject p = o.object("o").value().object("p").value();
  EXPECT_EQ(p.integer("q", {-10, 10}).value(), -3);
  EXPECT_EQ(p.path("q"), "o.p.q");
  EXPECT_FALSE(o.has("n"));
  EXPECT_FALSE(o.has("absent"));
  EXPECT_TRUE(o.is_null("n"));
  EXPECT_FALSE(o.is_null("absent") || o.is_null("i"));
  EXPECT_TRUE(o.is_object("o"));
  EXPECT_TRUE(o.is_array("is"));
  EXPECT_EQ(parsed(R"({"b":1,"n":null,"a":2})").keys(), (std::vector<std::string>{"a", "b"}));
}

TEST(JsonObject, NullAndAbsentTakeTheDefault) {
  const JsonObject o = parsed(R"({"n":null,"i":5,"f":0.5,"b":false,"s":"t"})");
  EXPECT_EQ(o.integer_or("n", 3).value(), 3);
  EXPECT_EQ(o.integer_or("i", 3).value(), 5);
  EXPECT_EQ(o.number_or("n", 3).value(), 3);
  EXPECT_EQ(o.number_or("f", 3).value(), 0.5);
  EXPECT_TRUE(o.boolean_or("absent", true).value());
  EXPECT_FALSE(o.boolean_or("b", true).value());
  EXPECT_EQ(o.string_or("n", "d").value(), "d");
  EXPECT_EQ(o.string_or("s", "d").value(), "t");
  EXPECT_FALSE(o.integer_or("s", 3));
}

TEST(JsonObject, EveryMissIsOneSentence) {
  const JsonObject o = parsed(
      R"({"s":"x","i":-1,"big":18446744073709551615,"f":2.5,"a":[1,"y",[]],"t":["a",1],"o":{"v":0}})");
  EXPECT_EQ(message(o.integer("s")),
            "c.json: field `s`: expected a positive integer of 32 bits, found \"x\"");
  EXPECT_EQ(message(o.integer("i", {1, INT64_MAX})),
            "c.json: field `i`: expected a positive integer, found -1");
  EXPECT_EQ(message(o.integer("i", {0, 9})),
            "c.json: field `i`: expected an integer from 0 to 9, found -1");
  EXPECT_EQ(message(o.integer("big", {0, 9})),
            "c.json: field `big`: expected an integer from 0 to 9, found 18446744073709551615");
  EXPECT_EQ(message(o.integer("f", {0, 9})),
            "c.json: field `f`: expected an integer from 0 to 9, found 2.5");
  EXPECT_EQ(message(o.integer("none", {0, 9})),
            "c.json: field `none`: expected an integer from 0 to 9, it is missing");
  EXPECT_EQ(message(o.number("s")), "c.json: field `s`: expected a number, found \"x\"");
  EXPECT_EQ(message(o.object("o").value().number("v", {0, 1e30, true})),
            "c.json: field `o.v`: expected a number above 0, found 0");
  EXPECT_EQ(message(o.number("f", {0, 1})),
            "c.json: field `f`: expected a number of at least 0 and at most 1, found 2.5");
  EXPECT_EQ(message(o.boolean("i")), "c.json: field `i`: expected true or false, found -1");
  EXPECT_EQ(message(o.string("o")), "c.json: field `o`: expected a string, found an object");
  EXPECT_EQ(message(o.object("a")), "c.json: field `a`: expected an object, found an array of 3");
  EXPECT_EQ(message(o.integers("a", {0, 9})),
            "c.json: field `a[1]`: expected an integer from 0 to 9, found \"y\"");
  EXPECT_EQ(message(o.integers("s")),
            "c.json: field `s`: expected an array of integers, found \"x\"");
  EXPECT_EQ(message(o.strings("t")), "c.json: field `t[1]`: expected a string, found 1");
  EXPECT_EQ(message(o.strings("none")),
            "c.json: field `none`: expected an array of strings, it is missing");
}

TEST(JsonObject, WhatIsNotJsonSaysWhere) {
  EXPECT_EQ(message(JsonObject::parse(R"({"a": nul})", "c.json")),
            "c.json: not JSON at byte 10: syntax error while parsing value - invalid literal");
  EXPECT_NE(message(JsonObject::parse("", "c.json")).find("c.json: not JSON at byte 1"),
            std::string::npos);
  EXPECT_NE(message(JsonObject::parse("{\"a\": \"\xff\"}", "c.json")).find("UTF-8"),
            std::string::npos);
  EXPECT_NE(message(JsonObject::parse(R"({"a":1e999})", "c.json")).find("not JSON"),
            std::string::npos);
  EXPECT_EQ(message(JsonObject::parse("[1]", "c.json")),
            "c.json: expected a JSON object, found an array of 1");
  EXPECT_EQ(message(JsonObject::parse("7", "c.json")), "c.json: expected a JSON object, found 7");
}

TEST(JsonObject, BombsAreRefused) {
  for (const char* const open : {"[", "{\"a\":"}) {
    std::string text = "{\"a\":";
    for (int i = 0; i < 1000000; ++i) text += open;
    EXPECT_EQ(message(JsonObject::parse(text, "c.json")),
              "c.json: expected JSON nested at most 64 deep, found deeper");
  }
  const std::string large(kMaxJsonBytes + 1, ' ');
  EXPECT_NE(message(JsonObject::parse(large, "c.json")).find("at most 67108864 bytes"),
            std::string::npos);
}

TEST(JsonObject, ReadsAFile) {
  const std::string path = testing::TempDir() + "json_reader_test.json";
  std::ofstream(path) << R"({"a":1})";
  EXPECT_EQ(JsonObject::read(path).value().integer("a").value(), 1);
  std::remove(path.c_str());
  EXPECT_NE(message(JsonObject::read(path)).find(path), std::string::npos);
}

TEST(InQuotes, KeepsMessagesShortAndOnOneLine) {
  EXPECT_EQ(in_quotes("a\"b\\c\n"), R"("a\"b\\c\x0a")");
  EXPECT_EQ(in_quotes(std::string(60, 'x')), '"' + std::string(60, 'x') + '"');
  EXPECT_EQ(in_quotes(std::string(61, 'x')), '"' + std::string(60, 'x') + "...\"");
  // A letter of two bytes across the cut stays whole.
  EXPECT_EQ(in_quotes(std::string(59, 'x') + "\xc3\xa9zz"),
            '"' + std::string(59, 'x') + "\xc3\xa9...\"");
  EXPECT_LT(in_quotes(std::string(1000, '\xbf')).size(), 80u);
}

}  // namespace
}  // namespace varve
