#include "grammar/pattern.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <regex>

#include "grammar/test_constraint.h"
#include "tokenizer/utf8.h"

namespace varve {
namespace {

using Json = nlohmann::json;

std::string schema_of(const std::string& pattern) {
  return Json{{"type", "string"}, {"pattern", pattern}}.dump();
}

// What a pattern is made of, at random; the strings that are held against it have these letters.
std::string random_pattern(Rng& rng, int depth) {
  const auto atom = [&]() -> std::string {
    constexpr const char* kAtoms[] = {"a",   "b", "c",      "[ab]", "[^a]", "\\d",
                                      "\\w", "1", "[a-c1]", "\\\\", "\"",   "\\."};
    if (depth > 0 && rng.below(3) == 0) return "(?:" + random_pattern(rng, depth - 1) + ")";
    return kAtoms[rng.below(std::size(kAtoms))];
  };
  constexpr const char* kTimes[] = {"", "", "", "*", "+", "?", "{2}", "{1,}", "{0,2}", "+?"};
  std::string pattern;
  const uint64_t n = 1 + rng.below(3);
  for (uint64_t i = 0; i < n; ++i) {
    pattern += atom();
    pattern += kTimes[rng.below(std::size(kTimes))];
  }
  if (rng.below(4) == 0) pattern += "|" + atom();
  return pattern;
}

// The strings of a pattern are those in which the standard library finds it.
TEST(Pattern, MatchesWhatRegularExpressionsMatch) {
  TestVocabulary& vocabulary = tiny_vocabulary();
  Rng rng(21);
  int n_matched = 0;
  for (int i = 0; i < 150; ++i) {
    std::string pattern = random_pattern(rng, 2);
    if (rng.below(2) == 0) pattern = "^(?:" + pattern + ")$";
    const std::regex regex(pattern);
    const CompiledGrammar grammar = compiled(vocabulary, schema_of(pattern));
    for (int j = 0; j < 40; ++j) {
      std::string text;
      for (uint64_t n = rng.below(6); n > 0; --n) text += "abc1\\\". "[rng.below(8)];
      const bool is_match = std::regex_search(text, regex);
      EXPECT_EQ(fits(vocabulary, grammar, Json(text).dump()), is_match)
          << pattern << " in " << text;
      n_matched += is_match ? 1 : 0;
    }
  }
  EXPECT_GT(n_matched, 500);
}

TEST(Pattern, KnowsCharactersBeyondAscii) {
  TestVocabulary& vocabulary = tiny_vocabulary();
  const CompiledGrammar grammar = compiled(vocabulary, schema_of("^[ä-ü\\u4e2d]\\u{1F600}.$"));
  EXPECT_TRUE(fits(vocabulary, grammar, "\"ö😀x\""));
  EXPECT_TRUE(fits(vocabulary, grammar, "\"中😀é\""));
  EXPECT_FALSE(fits(vocabulary, grammar, "\"a😀x\""));
  EXPECT_FALSE(fits(vocabulary, grammar, "\"ö😀\\n\""));
  const CompiledGrammar space = compiled(vocabulary, schema_of("^\\s\\S$"));
  EXPECT_TRUE(fits(vocabulary, space, "\"\\tx\""));
  EXPECT_TRUE(fits(vocabulary, space, "\" x\""));
  EXPECT_FALSE(fits(vocabulary, space, "\"\tx\""));
  EXPECT_FALSE(fits(vocabulary, space, "\"  \""));
}

TEST(Pattern, RefusesWhatIsNotRegular) {
  const auto message = [](std::string_view pattern) {
    const auto regex = json_regex_of_pattern(pattern);
    return regex ? std::string("taken: ") + regex->text : regex.error().message;
  };
  EXPECT_EQ(message("a(?=b)"), "at byte 2 of the pattern: looking around (`(?=`) is not supported");
  EXPECT_EQ(message("(?<!x)a"),
            "at byte 1 of the pattern: looking around (`(?<!`) is not supported");
  EXPECT_EQ(message("(a)\\1"), "at byte 5 of the pattern: the escape `\\1` is not supported");
  EXPECT_EQ(message("\\bword"), "at byte 2 of the pattern: the escape `\\b` is not supported");
  EXPECT_EQ(message("\\p{L}"), "at byte 2 of the pattern: the escape `\\p` is not supported");
  EXPECT_EQ(message("a^b"), "at byte 1 of the pattern: `^` is supported at the ends alone");
  EXPECT_EQ(message("a$b"), "at byte 2 of the pattern: `$` is supported at the end alone");
  EXPECT_EQ(message("(^a)"), "at byte 1 of the pattern: `^` is supported at the ends alone");
  EXPECT_EQ(message("*a"), "at byte 0 of the pattern: there is nothing to repeat before `*`");
  EXPECT_EQ(message("a**"), "at byte 2 of the pattern: there is nothing to repeat before `*`");
  EXPECT_EQ(message("(a"), "at byte 2 of the pattern: a group does not end");
  EXPECT_EQ(message("a)"), "at byte 1 of the pattern: `)` closes no group");
  EXPECT_EQ(message("[a"), "at byte 2 of the pattern: a class does not end");
  EXPECT_EQ(message("[z-a]"), "at byte 4 of the pattern: a range runs backwards");
  EXPECT_EQ(message("a{3,1}"), "at byte 6 of the pattern: {m,n} runs backwards");
  EXPECT_EQ(message("a{200}"), "at byte 2 of the pattern: expected at most 128 repetitions");
  EXPECT_EQ(message("\\x4"), "at byte 3 of the pattern: expected 2 hexadecimal digits");
  EXPECT_EQ(message("[\\x00-\\x07]"),
            "at byte 11 of the pattern: the class has no character that JSON can show");
  EXPECT_EQ(message("(?:[ab]{100}){100}"),
            "the pattern has more than 1000 characters with its repetitions");
  EXPECT_EQ(message("\xff"), "at byte 0 of the pattern: it is not UTF-8");
  EXPECT_EQ(message(std::string(40, '(') + std::string(40, ')')),
            "at byte 33 of the pattern: groups are nested deeper than 32");
}

TEST(Pattern, IsBoundedWithItsRepetitions) {
  const auto message = [](std::string_view pattern) {
    const auto regex = json_regex_of_pattern(pattern);
    return regex ? std::string("taken") : regex.error().message;
  };
  const std::string too_many = "the pattern has more than 1000 characters with its repetitions";
  EXPECT_EQ(message("^a{100}b{128}c{128}d{128}e{128}f{128}g{128}h{128}i{4}$"), "taken");
  EXPECT_EQ(message("^a{100}b{128}c{128}d{128}e{128}f{128}g{128}h{128}i{5}$"), too_many);
  // Groups of nothing are not free: `+` doubles what is written at each level.
  const auto nested = [](int depth, const std::string& times) {
    std::string pattern = "()";
    for (int i = 1; i < depth; ++i) pattern = "(" + pattern + times + ")";
    return "^" + pattern + "$";
  };
  EXPECT_EQ(message(nested(8, "+")), "taken");
  EXPECT_EQ(message(nested(32, "+")), too_many);
  EXPECT_EQ(message(nested(2, "{128}")), "taken");
  EXPECT_EQ(message(nested(4, "{128}")), too_many);
  EXPECT_EQ(message("^(||||)+$"), "taken");
  EXPECT_EQ(message("^(" + std::string(1000, '|') + ")$"), too_many);
  // A class of very many ranges takes as much as several characters.
  std::string ranges;
  for (uint32_t i = 0; i < 3000; ++i) append_utf8(0x4E00 + 2 * i, ranges);
  EXPECT_EQ(message("^[" + ranges + "]$"), "taken");
  EXPECT_EQ(message("^[" + ranges + "]{128}$"), too_many);
  std::string classes;
  for (int i = 0; i < 6; ++i) classes += "[" + ranges + "]";
  EXPECT_EQ(message("^" + classes + "$"),
            "the pattern takes more than 131072 bytes when it is written out");
}

TEST(Pattern, FormatsAreHeldTo) {
  TestVocabulary& vocabulary = tiny_vocabulary();
  const auto holds = [&](const std::string& format, const std::string& text) {
    const CompiledGrammar grammar =
        compiled(vocabulary, Json{{"type", "string"}, {"format", format}}.dump());
    return fits(vocabulary, grammar, Json(text).dump());
  };
  EXPECT_TRUE(holds("date", "2026-04-30"));
  EXPECT_FALSE(holds("date", "2026-04-31"));
  EXPECT_FALSE(holds("date", "2026-02-29"));
  EXPECT_TRUE(holds("time", "23:59:59.25Z"));
  EXPECT_FALSE(holds("time", "24:00:00Z"));
  EXPECT_TRUE(holds("date-time", "2026-11-26T08:30:00+01:00"));
  EXPECT_FALSE(holds("date-time", "2026-11-26 08:30:00"));
  EXPECT_TRUE(holds("uuid", "123e4567-e89b-12d3-a456-426614174000"));
  EXPECT_FALSE(holds("uuid", "123e4567-e89b-12d3-a456-42661417400"));
  EXPECT_TRUE(holds("email", "a.b-c+d@mail.example-1.org"));
  EXPECT_FALSE(holds("email", "a@b"));
  EXPECT_TRUE(holds("ipv4", "192.168.0.255"));
  EXPECT_FALSE(holds("ipv4", "192.168.0.256"));
  EXPECT_TRUE(holds("something-else", "anything"));
}

}  // namespace
}  // namespace varve
