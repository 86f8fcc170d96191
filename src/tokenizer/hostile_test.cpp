// Files that are not what they have to be: each gives a sentence that names the file and the field.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tokenizer/test_tokenizer_json.h"
#include "tokenizer/tokenizer.h"

namespace varve {
namespace {

using nlohmann::json;

void expect_refused(const std::string& text, const std::string& part) {
  const auto tokenizer = Tokenizer::parse(text, "bad.json");
  ASSERT_FALSE(tokenizer) << "expected to be refused for: " << part;
  EXPECT_EQ(tokenizer.error().kind, ErrorKind::bad_input);
  const std::string& message = tokenizer.error().message;
  EXPECT_TRUE(message.starts_with("bad.json")) << message;
  EXPECT_NE(message.find(part), std::string::npos) << message << "\n  lacks: " << part;
  EXPECT_LT(message.size(), 600u);
  EXPECT_TRUE(is_utf8(message));
}

// The usual file with the value at `pointer` replaced.
void expect_refused_at(const std::string& pointer, const json& value, const std::string& part) {
  json file = byte_level_json({{"a", "b"}});
  file[json::json_pointer(pointer)] = value;
  expect_refused(file.dump(), part);
}

TEST(HostileFile, NotJson) {
  expect_refused("", "not valid JSON at byte");
  expect_refused("{", "not valid JSON");
  expect_refused("[1, 2]", "expected an object, found an array");
  expect_refused("17", "expected an object, found 17");
  expect_refused("{\"model\": {\"vocab\": {\"a\": 1, \xFF", "not valid JSON");
  expect_refused("{} {}", "not valid JSON");
  expect_refused("{}", "expected model.vocab, found none");
}

TEST(HostileFile, EveryTruncation) {
  const std::string text = byte_level_json({{"a", "b"}}).dump();
  for (size_t n = 0; n < text.size(); ++n) {
    const auto tokenizer = Tokenizer::parse(std::string_view(text).substr(0, n), "bad.json");
    ASSERT_FALSE(tokenizer);
    EXPECT_EQ(tokenizer.error().kind, ErrorKind::bad_input);
  }
}

TEST(HostileFile, DeepNesting) {
  const std::string deep(1 << 20, '[');
  expect_refused(deep, "expected an object");
  expect_refused("{\"other\": " + deep, "not valid JSON");
  expect_refused("{\"pre_tokenizer\": " + deep, "levels");
  expect_refused("{\"model\": {\"dropout\": " + deep, "levels");
  expect_refused("{\"added_tokens\": [" + deep, "levels");
  expect_refused("{\"model\": {\"merges\": " + deep, "not valid JSON");
  expect_refused("{\"model\": {\"vocab\": {}, \"merges\": " + deep, "two pieces");
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  expect_refused("{\"decoder\": " + objects, "levels");
}

TEST(HostileFile, Vocab) {
  expect_refused_at("/model/vocab", json::array(), "model.vocab: expected an object");
  expect_refused_at("/model/vocab", 3, "model.vocab: expected an object, found 3");
  expect_refused_at("/model/vocab/a", -1, "model.vocab[\"a\"]: expected an id from 0");
  expect_refused_at("/model/vocab/a", 1.5, "found 1.5");
  expect_refused_at("/model/vocab/a", "1", "found \"1\"");
  expect_refused_at("/model/vocab/a", json::object(), "found an object");
  expect_refused_at("/model/vocab/a", 1 << 24, "found 16777216");
  expect_refused_at("/model/vocab/a", UINT64_MAX, "18446744073709551615");
  expect_refused_at("/model/vocab/a", (1 << 24) - 1, "in keeping with 257 pieces");
  expect_refused_at("/model/vocab/a", 98, "both with the id 98");
  expect_refused("{\"model\": {\"vocab\": {\"a\": 1, \"a\": 2}}}", "each piece once");
  expect_refused("{\"model\": {\"vocab\": {}, \"vocab\": {}}}", "once, found it twice");
}

TEST(HostileFile, Merges) {
  const auto merges = [](const json& value, const std::string& part) {
    expect_refused_at("/model/merges", value, part);
  };
  merges(json::object(), "model.merges: expected an array");
  merges("a b", "model.merges: expected an array, found \"a b\"");
  merges({"a b", "a zz"}, "model.merges[1]: expected pieces of the vocabulary, found \"zz\"");
  merges({"a a"}, "found \"aa\"");
  merges({"ab"}, "one space");
  merges({"a b c"}, "one space");
  merges({7}, "model.merges[0]: expected \"a b\" or [\"a\", \"b\"], found 7");
  merges(json::array({json::array({"a"})}), "expected two pieces, found 1");
  merges(json::array({json::array({"a", "b", "c"})}), "found more");
  merges(json::array({json::array({"a", 1})}), "found 1");
  merges(json::array({json::array({"a", json::array()})}), "found an array");
  merges({"a b", json::array({"a", "b"})}, "each pair once");
  json file = byte_level_json();
  file["model"].erase("merges");
  expect_refused(file.dump(), "expected model.merges, found none");
}

TEST(HostileFile, Model) {
  expect_refused_at("/model", 1, "model: expected an object, found 1");
  expect_refused_at("/model/type", "WordPiece", "found \"WordPiece\"");
  expect_refused_at("/model/dropout", 0.1, "dropout");
  expect_refused_at("/model/byte_fallback", true, "byte_fallback");
  expect_refused_at("/model/continuing_subword_prefix", "##", "continuing_subword_prefix");
  expect_refused_at("/model/end_of_word_suffix", "</w>", "end_of_word_suffix");
  expect_refused_at("/model/unk_token", 3, "unk_token");
  expect_refused_at("/model/ignore_merges", "yes", "ignore_merges");
  expect_refused_at("/model/novelty", 1, "found \"novelty\"");
}

TEST(HostileFile, AddedTokens) {
  const auto added = [](const json& value, const std::string& part) {
    expect_refused_at("/added_tokens", value, part);
  };
  added(json::object(), "added_tokens: expected an array");
  added({1}, "added_tokens: expected objects, found 1");
  added(json::array({added_token_json("", 300)}), "added_tokens[0].content: expected a text");
  added(json::array({added_token_json("x!", -2)}), "added_tokens[0].id: expected a number from 0");
  added(json::array({added_token_json("x!", 1 << 24)}), "found 16777216");
  added(json::array({added_token_json("x!", 97)}), "both with the id 97");
  added(json::array({added_token_json("a", 300)}),
        "to have the id 97, as in the vocabulary, found 300");
  added(json::array({added_token_json("x!", 300), added_token_json("x!", 301)}),
        "each content once");
  added(json::array({added_token_json("x!", 300), added_token_json("y!", 300)}), "each id once");
  json token = added_token_json("x!", 300);
  token["lstrip"] = 1;
  added(json::array({token}), "added_tokens[0].lstrip: expected true or false, found 1");
}

TEST(HostileFile, Parts) {
  expect_refused_at("/normalizer", {{"type", "NFC"}}, "normalizer: expected no normalizer");
  expect_refused_at("/normalizer",
                    {{"type", "Sequence"}, {"normalizers", {{{"type", "Lowercase"}}}}},
                    "normalizer.normalizers[0]: expected no normalizer");
  expect_refused_at("/decoder", {{"type", "Metaspace"}}, "found \"Metaspace\"");
  expect_refused_at("/decoder", nullptr, "decoder: expected an object with a type, found null");
  expect_refused_at("/decoder", {{"type", "Sequence"}, {"decoders", json::array()}},
                    "found 0 decoders");
  json file = byte_level_json();
  file.erase("decoder");
  expect_refused(file.dump(), "expected decoder, found none");
  file = byte_level_json();
  file.erase("pre_tokenizer");
  expect_refused(file.dump(), "expected pre_tokenizer, found none");
}

TEST(HostileFile, PreTokenizer) {
  const auto refused = [](const json& stage, const std::string& part) {
    expect_refused_at("/pre_tokenizer",
                      {{"type", "Sequence"}, {"pretokenizers", json::array({stage})}}, part);
  };
  const auto pattern = [&](const std::string& regex, const std::string& part) {
    refused({{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}}, part);
  };
  expect_refused_at("/pre_tokenizer", nullptr, "expected an object with a type");
  refused({{"type", "Metaspace"}}, "pretokenizers[0].type: expected Sequence, Split");
  refused({{"type", "Digits"}}, "expected a ByteLevel at the end");
  refused({{"type", 5}}, "pretokenizers[0].type: expected a string, found 5");
  refused({{"type", "Digits"}, {"individual_digits", "no"}}, "individual_digits");
  refused({{"type", "Split"}, {"pattern", {{"Regex", "a"}}}, {"behavior", "Sideways"}},
          "found \"Sideways\"");
  refused({{"type", "Split"}, {"pattern", {{"Glob", "a"}}}, {"behavior", "Isolated"}}, "Glob");
  refused({{"type", "Split"}, {"pattern", "a"}, {"behavior", "Isolated"}}, "Regex");
  refused({{"type", "ByteLevel"}, {"surprise", true}}, "found \"surprise\"");
  pattern("(", "does not compile");
  pattern("a)", "does not compile");
  pattern("[z-a]", "does not compile");
  pattern("(((a{60}){60}){60}){60}", "does not compile");
  pattern(std::string(5000, '('), "does not compile");
  pattern(std::string(1 << 17, 'a'), "at most 65536 bytes");
  pattern("[a&&b]", "an intersection of classes, which is not supported");
  pattern("[a[b]]", "a class inside a class");
  pattern("(*UTF)a", "a verb");
  pattern("(?<name>a)", "the group");
  pattern("\\Ka", "the escape \"\\K\"");
  pattern("\\p{Nonsense}", "the property \"Nonsense\"");
  pattern("a\\", "a backslash at its end");
  json many = json::array();
  for (int i = 0; i < 100; ++i) many.push_back({{"type", "Digits"}});
  expect_refused_at("/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", many}},
                    "at most 32 stages");
}

TEST(HostileFile, PatternThatBacktracksWithoutEnd) {
  json file = byte_level_json();
  file["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"}, {"pattern", {{"Regex", "(a+)+[bc]"}}}, {"behavior", "Isolated"}},
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
  const auto tokenizer = Tokenizer::parse(file.dump(), "bad.json");
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_TRUE(tokenizer->encode("aaab"));
  const auto ids = tokenizer->encode(std::string(60, 'a'));
  ASSERT_FALSE(ids);
  EXPECT_EQ(ids.error().kind, ErrorKind::bad_input);
  EXPECT_NE(ids.error().message.find("too many steps"), std::string::npos) << ids.error().message;
}

TEST(HostileFile, NotThere) {
  const auto tokenizer = Tokenizer::load("/nowhere/tokenizer.json");
  ASSERT_FALSE(tokenizer);
  EXPECT_NE(tokenizer.error().message.find("/nowhere/tokenizer.json"), std::string::npos);
}

TEST(TokenizerFile, FieldsInAnyOrder) {
  // merges before vocab, and the model before everything else.
  const json file = byte_level_json({{"a", "b"}, {"ab", "c"}});
  const json& model = file["model"];
  const std::string text = "{\"model\": {\"merges\": " + model["merges"].dump() +
                           ", \"fuse_unk\": false, \"vocab\": " + model["vocab"].dump() +
                           ", \"type\": \"BPE\"}, \"decoder\": " + file["decoder"].dump() +
                           ", \"version\": {\"model\": {\"merges\": [[[]]]}}, \"pre_tokenizer\": " +
                           file["pre_tokenizer"].dump() + "}";
  const auto tokenizer = Tokenizer::parse(text, "test.json");
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->encode("abcab").value(), (std::vector<int32_t>{257, 256}));
}

}  // namespace
}  // namespace varve
