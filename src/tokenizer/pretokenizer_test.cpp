// Where text is cut. The expected words were made once with the `tokenizers` library.
#include "tokenizer/pretokenizer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tokenizer/test_tokenizer_json.h"
#include "tokenizer/test_words.h"
#include "tokenizer/tokenizer.h"

namespace varve {
namespace {

Words split(std::string_view pattern, SplitBehavior behavior, bool invert, std::string_view text,
            bool literal = false) {
  Pretokenizer::Split stage;
  stage.behavior = behavior;
  stage.invert = invert;
  if (literal) {
    stage.literal = pattern;
  } else {
    auto regex = Regex::compile(pattern, "test");
    EXPECT_TRUE(regex) << regex.error().message;
    stage.regex = std::move(*regex);
  }
  Pretokenizer pretokenizer;
  pretokenizer.add(std::move(stage));
  pretokenizer.end_with_byte_level(false, std::nullopt);
  return words_of(pretokenizer, text);
}

TEST(Pretokenizer, Behaviors) {
  struct Case {
    SplitBehavior behavior;
    bool invert;
    Words words;
  };
  for (const Case& c : {
           Case{SplitBehavior::isolated, false, {"-", "a", "-", "-", "b", "-", "cc", "-"}},
           Case{SplitBehavior::isolated, true, {"-", "a", "-", "-", "b", "-", "cc", "-"}},
           Case{SplitBehavior::removed, false, {"a", "cc"}},
           Case{SplitBehavior::removed, true, {"-", "-", "-", "b", "-", "-"}},
           Case{SplitBehavior::merged_with_previous, false, {"-", "a-", "-", "b", "-", "cc-"}},
           Case{SplitBehavior::merged_with_previous, true, {"-a", "-", "-", "b", "-cc", "-"}},
           Case{SplitBehavior::merged_with_next, false, {"-a", "-", "-", "b", "-cc", "-"}},
           Case{SplitBehavior::merged_with_next, true, {"-", "a-", "-", "b", "-", "cc-"}},
           Case{SplitBehavior::contiguous, false, {"-", "a", "--b-", "cc", "-"}},
           Case{SplitBehavior::contiguous, true, {"-", "a", "--b-", "cc", "-"}},
       }) {
    EXPECT_EQ(split("-|b", c.behavior, c.invert, "-a--b-cc-"), c.words)
        << static_cast<int>(c.behavior) << c.invert;
  }
}

TEST(Pretokenizer, LiteralPattern) {
  EXPECT_EQ(split(".", SplitBehavior::isolated, false, "a.b..", true),
            (Words{"a", ".", "b", ".", "."}));
  EXPECT_EQ(split("..", SplitBehavior::removed, false, "...a", true), (Words{".a"}));
}

TEST(Pretokenizer, PatternsOfTheOtherSyntax) {
  const std::string text = "aaab\u00B21a\nb 's\u017F\u180E'\u017F\u0663";
  const auto words = [&](std::string_view pattern) {
    return split(pattern, SplitBehavior::isolated, false, text);
  };
  EXPECT_EQ(words("a*"), (Words{"aaa", "b", "\u00B2", "1", "a", "\n", "b", " ", "'", "s", "\u017F",
                                "\u180E", "'", "\u017F", "\u0663"}));
  EXPECT_EQ(words("(?=b)"), (Words{"aaa", "b\u00B21a\n", "b 's\u017F\u180E'\u017F\u0663"}));
  EXPECT_EQ(words("a{1,2}+b"), (Words{"aaab", "\u00B21a\nb 's\u017F\u180E'\u017F\u0663"}));
  EXPECT_EQ(words("\\w+"),
            (Words{"aaab\u00B21a", "\n", "b", " '", "s\u017F", "\u180E'", "\u017F\u0663"}));
  EXPECT_EQ(words("[\\w]+"),
            (Words{"aaab", "\u00B2", "1a", "\n", "b", " '", "s\u017F", "\u180E'", "\u017F\u0663"}));
  EXPECT_EQ(words("\\h+"),
            (Words{"aaab", "\u00B2", "1a", "\n", "b", " 's\u017F\u180E'\u017F\u0663"}));
  EXPECT_EQ(words("^a|b$"), (Words{"a", "aab\u00B21a\nb 's\u017F\u180E'\u017F\u0663"}));
  EXPECT_EQ(words("(?i)'S|\\d+"),
            (Words{"aaab\u00B2", "1", "a\nb ", "'s", "\u017F\u180E", "'\u017F", "\u0663"}));
}

TEST(Pretokenizer, TranslatesPatterns) {
  const auto translated = [](std::string_view pattern) {
    return translate_pattern(pattern).value();
  };
  EXPECT_EQ(translated("ab|c"), "ab|c");
  EXPECT_EQ(translated("\\u4e2d"), "\\x{4e2d}");
  EXPECT_EQ(translated("\\p{Han}\\p{L}"), "\\p{sc:Han}\\p{L}");
  EXPECT_EQ(translated("a{,3}"), "a{0,3}");
  EXPECT_EQ(translated("(ab|c){1,3}+d{2}"), "(?:(ab|c){1,3})+d{2}");
  EXPECT_EQ(translated("[ab]{1,3}+"), "(?:[ab]{1,3})+");
  EXPECT_EQ(translated("a++b?+"), "a++b?+");
  EXPECT_EQ(translated("[^\\S\\n]"), "[^\\P{White_Space}\\n]");
  EXPECT_EQ(translated("{x}"), "{x}");
  for (const std::string_view refused :
       {"a{2}?", "(?<=a)(?<n>b)", "(?m)a", "a(?i)b", "\\bx", "[\\W]", "\\u12", "(?i)\u00E9",
        "(?i:ss)", "[[:alpha:]]", "\\pL", "\\p{Foo}", "\\Q"}) {
    EXPECT_FALSE(translate_pattern(refused)) << refused;
  }
}

TEST(Pretokenizer, ByteLevelPrefixSpace) {
  nlohmann::json file = byte_level_json();
  file["added_tokens"] = nlohmann::json::array({added_token_json("<t>", 300)});
  file["pre_tokenizer"]["add_prefix_space"] = true;
  const auto tokenizer = Tokenizer::parse(file.dump(), "test");
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  const auto text_of = [&](std::string_view text) {
    return tokenizer->decode(tokenizer->encode(text).value());
  };
  EXPECT_EQ(text_of("a b"), " a b");
  EXPECT_EQ(text_of(" a"), " a");
  EXPECT_EQ(text_of("a<t>b<t> c"), " a<t> b<t> c");
  EXPECT_EQ(text_of(""), "");
}

// Encodes with the tokens "<a>" (300) and "<a>b" (301) changed as a test likes; others are bytes.
std::vector<int32_t> with_added(std::string_view text, const nlohmann::json& change,
                                const nlohmann::json& change_longer = nlohmann::json::object()) {
  nlohmann::json file = byte_level_json();
  nlohmann::json first = added_token_json("<a>", 300);
  nlohmann::json second = added_token_json("<a>b", 301);
  first.update(change);
  second.update(change_longer);
  file["added_tokens"] = nlohmann::json::array({first, second});
  const auto tokenizer = Tokenizer::parse(file.dump(), "test");
  EXPECT_TRUE(tokenizer) << tokenizer.error().message;
  return tokenizer->encode(text).value();
}

TEST(AddedTokens, LongestOfTheLeftmost) {
  const nlohmann::json none = nlohmann::json::object();
  EXPECT_EQ(with_added("x<a>bc<a>", none), (std::vector<int32_t>{'x', 301, 'c', 300}));
  EXPECT_EQ(with_added("<a", none), (std::vector<int32_t>{'<', 'a'}));
  EXPECT_EQ(with_added("<<a>>", none), (std::vector<int32_t>{'<', 300, '>'}));
}

TEST(AddedTokens, NormalizedOnesComeSecond) {
  const nlohmann::json none = nlohmann::json::object();
  EXPECT_EQ(with_added("<a>b", none, {{"normalized", true}}), (std::vector<int32_t>{300, 'b'}));
}

TEST(AddedTokens, Strip) {
  EXPECT_EQ(with_added("x \u00A0<a> y", {{"lstrip", true}}),
            (std::vector<int32_t>{'x', 300, ' ', 'y'}));
  EXPECT_EQ(with_added("x <a> \ny", {{"rstrip", true}}),
            (std::vector<int32_t>{'x', ' ', 300, 'y'}));
}

TEST(AddedTokens, WhiteSpaceTokensInStrippedWhiteSpace) {
  const nlohmann::json taker = {{"rstrip", true}};
  EXPECT_EQ(with_added("<a>  b", taker, {{"content", " "}, {"rstrip", true}}),
            (std::vector<int32_t>{300, 301, 301, 'b'}));
  EXPECT_EQ(with_added("<a>  b", taker, {{"content", " "}, {"lstrip", true}, {"rstrip", true}}),
            (std::vector<int32_t>{300, 'b'}));
}

TEST(AddedTokens, SingleWord) {
  EXPECT_EQ(with_added("x<a> <a> <a>\u00E9", {{"single_word", true}}),
            (std::vector<int32_t>{'x', '<', 'a', '>', ' ', 300, ' ', '<', 'a', '>', 0xC3, 0xA9}));
}

}  // namespace
}  // namespace varve
