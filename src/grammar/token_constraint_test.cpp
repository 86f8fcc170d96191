#include "grammar/token_constraint.h"

#include <gtest/gtest.h>

#include <thread>

#include "grammar/test_constraint.h"
#include "grammar/test_schema_checker.h"

namespace varve {
namespace {

using Json = nlohmann::ordered_json;

// Schemas at random, of all that is supported.
class RandomSchema {
 public:
  explicit RandomSchema(Rng& rng) : rng_(&rng) {}

  Json next(int depth) {
    switch (rng_->below(depth > 0 ? 12 : 7)) {
      case 0:
        return one_of({{{"type", "boolean"}},
                       {{"type", "null"}},
                       {{"const", {1, "x"}}},
                       {{"enum", {"a", "b\n\"", 3, nullptr, 1.5, "é"}}}});
      case 1:
        return integer();
      case 2:
        return number();
      case 3:
        return string();
      case 4:
        return {
            {"type", "string"},
            {"pattern", one_of({"^[a-z]{2,4}$", "^\\d+-[A-F]*$", "^(foo|bar)+$", "^x?y*z$",
                                "^(a(b(c)?)?)?$", "^[ab]{0,3}\"?$", "^\\w+@\\w+\\.(com|org)$"})}};
      case 5:
        return one_of({{{"type", {"string", "null"}}, {"minLength", 2}},
                       Json::object(),
                       {{"type", "object"}},
                       {{"type", "array"}}});
      case 6:
        return {{"$ref", one_of({"#/$defs/leaf", "#/$defs/list"})}};
      case 7:
      case 8:
      case 9:
        return object(depth - 1);
      case 10:
        return array(depth - 1);
      default:
        return {{"anyOf", Json::array({next(depth - 1), next(depth - 1)})}};
    }
  }

 private:
  Json one_of(const std::vector<Json>& all) { return all[rng_->below(all.size())]; }
  bool maybe() { return rng_->below(2) == 0; }
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(rng_->below(static_cast<uint64_t>(high - low + 1)));
  }

  Json integer() {
    Json schema = {{"type", "integer"}};
    const int64_t low = between(-500, 500);
    if (maybe()) schema["minimum"] = low;
    if (maybe()) schema["exclusiveMaximum"] = low + between(1, 300);
    return schema;
  }
  Json number() {
    Json schema = {{"type", "number"}};
    const int64_t low = between(-5000, 5000);  // hundredths
    if (maybe()) schema["exclusiveMinimum"] = static_cast<double>(low) / 100;
    if (maybe()) schema["maximum"] = static_cast<double>(low + between(1, 1500)) / 100;
    return schema;
  }
  Json string() {
    Json schema = {{"type", "string"}};
    const int64_t low = between(0, 4);
    if (maybe()) schema["minLength"] = low;
    if (maybe()) schema["maxLength"] = low + between(0, maybe() ? 4 : 150);
    return schema;
  }
  Json array(int depth) {
    Json schema = {{"type", "array"}, {"items", next(depth)}};
    if (maybe()) schema["prefixItems"] = Json::array({next(depth)});
    const int64_t low = between(0, 2);
    if (maybe()) schema["minItems"] = low;
    if (maybe()) schema["maxItems"] = low + between(0, 3);
    return schema;
  }
  Json object(int depth) {
    Json schema = {{"type", "object"}, {"properties", Json::object()}, {"required", Json::array()}};
    for (const char* const name : {"a", "ab", "x y", "q\"u", "ä", ""}) {
      if (maybe()) continue;
      schema["properties"][name] = next(depth);
      if (maybe()) schema["required"].push_back(name);
    }
    if (rng_->below(4) == 0) schema["additionalProperties"] = next(depth);
    return schema;
  }

  Rng* rng_;
};

Json random_schema(Rng& rng) {
  RandomSchema random(rng);
  Json schema = {{"anyOf", Json::array({random.next(3)})}};
  schema["$defs"]["leaf"] = {{"type", "integer"}, {"minimum", 7}};
  schema["$defs"]["list"] = Json::parse(
      R"({"type": "object", "properties": {"n": {"anyOf": [{"$ref": "#/$defs/list"}, {"type": "null"}]}},
          "required": ["n"]})");
  return schema;
}

// Whatever is drawn from what is allowed is JSON and fits the schema, and the mask says what its
// tokens' bytes say.
void hold_random_walks(TestVocabulary& vocabulary, int n_schemas, int n_walks, uint64_t seed) {
  Rng rng(seed);
  int n_texts = 0;
  for (int i = 0; i < n_schemas; ++i) {
    const Json schema = random_schema(rng);
    const CompiledGrammar grammar = compiled(vocabulary, schema.dump());
    const SchemaChecker checker(schema);
    for (int walk = 0; walk < n_walks; ++walk) {
      const std::string text = random_text(vocabulary, grammar, rng, 400);
      if (text.empty()) continue;
      ++n_texts;
      const Json value = Json::parse(text, nullptr, false);
      ASSERT_FALSE(value.is_discarded()) << schema << "\n" << text;
      ASSERT_TRUE(checker.fits(value)) << schema << "\n" << text;
    }
  }
  EXPECT_GT(n_texts, n_schemas * n_walks / 2);
}

TEST(TokenConstraint, RandomWalksFitTheirSchemas) {
  hold_random_walks(tiny_vocabulary(), 150, 6, 5);
}

TEST(TokenConstraint, RandomWalksWithTheTokensOfDeepseek) {
  const char* const path = std::getenv("VARVE_DEEPSEEK_TOKENIZER");
  if (path == nullptr) GTEST_SKIP() << "VARVE_DEEPSEEK_TOKENIZER is not set";
  TestVocabulary vocabulary(path);
  hold_random_walks(vocabulary, 12, 3, 6);
}

// A token may come exactly where its bytes may come one after the other.
TEST(TokenConstraint, TheMaskIsWhatTheBytesSay) {
  TestVocabulary& vocabulary = tiny_vocabulary();
  Rng rng(8);
  int n_allowed = 0;
  for (int i = 0; i < 25; ++i) {
    const CompiledGrammar grammar = compiled(vocabulary, random_schema(rng).dump());
    const auto look = [&](const std::string& text, std::span<const uint32_t> mask) {
      for (int j = 0; j < 12; ++j) {
        const auto id = static_cast<int32_t>(rng.below(static_cast<uint64_t>(vocabulary.n_ids())));
        const std::string_view piece = vocabulary.tokenizer.piece(id);
        const bool is_text = !piece.empty() && !vocabulary.tokenizer.is_added(id);
        TokenConstraint again = TokenConstraint::create(grammar).value();
        ASSERT_TRUE(takes(vocabulary, again, text)) << text;
        const bool fits = is_text && takes(vocabulary, again, piece);
        ASSERT_EQ(has_id(mask, id), fits) << text << " then " << piece;
        n_allowed += fits ? 1 : 0;
      }
    };
    random_text(vocabulary, grammar, rng, 40, look);
  }
  EXPECT_GT(n_allowed, 100);
}

TEST(TokenConstraint, AnyObjectIsJson) {
  TestVocabulary& vocabulary = tiny_vocabulary();
  const CompiledGrammar grammar = vocabulary.compiler->compile_any_object().value();
  Rng rng(3);
  int n_texts = 0;
  for (int i = 0; i < 60; ++i) {
    const std::string text = random_text(vocabulary, grammar, rng, 400);
    if (text.empty()) continue;
    ++n_texts;
    const Json value = Json::parse(text, nullptr, false);
    ASSERT_TRUE(value.is_object()) << text;
  }
  EXPECT_GT(n_texts, 20);
  EXPECT_TRUE(fits(vocabulary, grammar, R"({"a": [1.5e3, {"b": null}], "c": "\u00e9"})"));
  EXPECT_FALSE(fits(vocabulary, grammar, "[]"));
  EXPECT_FALSE(fits(vocabulary, grammar, "{} "));
}

TEST(TokenConstraint, WhatIsNotTextIsNeverAllowed) {
  const std::string path = VARVE_SOURCE_DIR "/models/varve-tiny/tokenizer.json";
  const Tokenizer tokenizer = tokenizer_of(path);
  const int32_t quote = *tokenizer.id_of("\"");
  const int32_t x = *tokenizer.id_of("x");
  const auto compiler =
      GrammarCompiler::create(tokenizer, tokenizer.vocab_size() + 3, {{x}}).value();
  const auto grammar = compiler->compile_json_schema(R"({"type": "string"})");
  ASSERT_TRUE(grammar);
  TokenConstraint constraint = TokenConstraint::create(*grammar).value();
  EXPECT_TRUE(constraint.accept(quote));
  const auto mask = constraint.allowed().value();
  for (int32_t id = 0; id < static_cast<int32_t>(mask.size() * 32); ++id) {
    const bool is_text = id < tokenizer.vocab_size() && !tokenizer.is_added(id) && id != x;
    EXPECT_TRUE(is_text || !has_id(mask, id)) << id;
  }
  EXPECT_FALSE(constraint.accept(x));
  EXPECT_FALSE(constraint.accept(-1));
  EXPECT_FALSE(constraint.accept(tokenizer.vocab_size() + 40));
  EXPECT_FALSE(constraint.is_complete());
  EXPECT_TRUE(constraint.accept(quote));
  EXPECT_TRUE(constraint.is_complete());
  EXPECT_TRUE(*constraint.is_finished());
}

TEST(GrammarCompiler, SaysWhatIsWrongWithASchema) {
  const auto grammar = tiny_vocabulary().compiler->compile_json_schema(R"({"not": {}})");
  ASSERT_FALSE(grammar);
  EXPECT_EQ(grammar.error().kind, ErrorKind::bad_input);
  EXPECT_EQ(grammar.error().message, "schema at `#/not`: the keyword `not` is not supported");
}

// A schema of literals alone has room with any vocabulary; all that is planned is not exceeded.
TEST(GrammarCompiler, HasRoomForTheLargestGrammars) {
  TestVocabulary& vocabulary = tiny_vocabulary();
  const size_t planned = GrammarCompiler::memory_bytes(vocabulary.n_ids());
  Rng rng(4);
  for (const int length : {20, 200}) {
    Json schema = {{"enum", Json::array()}};
    for (int i = 0; i < 63'000 / (length + 3); ++i) {
      std::string text;
      for (int j = 0; j < length; ++j) text += static_cast<char>('a' + rng.below(26));
      if (i < 2000) schema["enum"].push_back(text);
    }
    EXPECT_LT(compiled(vocabulary, schema.dump()).bytes(), planned / 2);
  }
  Json lengths = {{"type", "object"}};
  for (int i = 125; i <= 128; ++i) {
    lengths["properties"][std::to_string(i)] = {{"type", "string"}, {"maxLength", i}};
  }
  EXPECT_LT(compiled(vocabulary, lengths.dump()).bytes(), planned / 2);
}

// More than are kept, from several threads, while some are in use.
TEST(GrammarCompiler, CompilesForSeveralThreads) {
  TestVocabulary& vocabulary = tiny_vocabulary();
  std::vector<std::thread> threads;
  std::vector<int> n_right(4, 0);
  for (size_t t = 0; t < n_right.size(); ++t) {
    threads.emplace_back([&vocabulary, &n = n_right[t], t] {
      for (size_t i = 0; i < 50; ++i) {
        const size_t value = (t * 7 + i) % 60;
        const auto grammar =
            vocabulary.compiler->compile_json_schema(fmt::format(R"({{"const": {}}})", value));
        n += grammar && fits(vocabulary, *grammar, std::to_string(value)) ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(n_right, std::vector<int>(4, 50));
}

}  // namespace
}  // namespace varve
