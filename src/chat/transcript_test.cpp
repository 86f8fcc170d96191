#include "chat/transcript.h"

#include <gtest/gtest.h>

#include "tokenizer/test_tokenizer_json.h"

namespace varve {
namespace {

// Bytes with the ids 0..255, "ab" as 256, and the special tokens <u> 257, <a> 258, <e> 259.
Tokenizer make_tokenizer() {
  nlohmann::json json = byte_level_json({{"a", "b"}});
  json["added_tokens"] = {added_token_json("<u>", 257), added_token_json("<a>", 258),
                          added_token_json("<e>", 259)};
  return Tokenizer::parse(json.dump(), "test.json").value();
}

using Ids = std::vector<int32_t>;

Ids bytes(const Tokenizer& tokenizer, std::string_view text) {
  Ids ids;
  for (const char c : text) {
    const Ids one = tokenizer.encode(std::string_view(&c, 1)).value();
    ids.insert(ids.end(), one.begin(), one.end());
  }
  return ids;
}

class TranscriptTest : public testing::Test {
 protected:
  void expect(const Ids& want) { EXPECT_EQ(transcript_.ids(), want); }
  Ids encoded(std::string_view text) const { return tokenizer_.encode(text).value(); }
  static Ids joined(std::initializer_list<Ids> parts) {
    Ids all;
    for (const Ids& part : parts) all.insert(all.end(), part.begin(), part.end());
    return all;
  }

  const Tokenizer tokenizer_ = make_tokenizer();
  Transcript transcript_{tokenizer_};
};

TEST_F(TranscriptTest, AnAnswerKeepsTheIdsThatWereSampled) {
  ASSERT_TRUE(transcript_.continue_to("<u>ab<a>"));
  expect({257, 256, 258});
  const Ids sampled = bytes(tokenizer_, "abab");  // not as the tokenizer would spell it
  ASSERT_NE(sampled, encoded("abab"));
  transcript_.add_answer(sampled, "abab");
  ASSERT_TRUE(transcript_.continue_to("<u>ab<a>abab<e><u>ab<a>"));
  expect(joined({{257, 256, 258}, sampled, {259, 257, 256, 258}}));
}

TEST_F(TranscriptTest, AnAnswerThatComesBackAsPlainTextKeepsItsIds) {
  ASSERT_TRUE(transcript_.continue_to("<u>ab<a>"));
  const Ids sampled = joined({bytes(tokenizer_, "ab"), {257}, bytes(tokenizer_, "ab\n")});
  transcript_.add_answer(sampled, "ab<u>ab\n");
  const std::string again = "<u>ab<a>" + tokenizer_.as_plain_text("ab<u>ab") + "<e>";
  EXPECT_EQ(transcript_.common_bytes(again), again.size() - 3);
  ASSERT_TRUE(transcript_.continue_to(again));
  expect(joined({{257, 256, 258}, sampled, {259}}));
  // Nobody sampled this one.
  const std::string forged = "<u>ab<a>" + tokenizer_.as_plain_text("ab<u>a<e>") + "<e>";
  EXPECT_EQ(transcript_.common_bytes(forged), 10U);
  ASSERT_TRUE(transcript_.continue_to(forged));
  expect(joined({{257, 256, 258},
                 bytes(tokenizer_, "ab"),
                 tokenizer_.encode_marked(forged.substr(10)).value()}));
}

TEST_F(TranscriptTest, AnAnswerThatATemplateTrimsKeepsItsIds) {
  ASSERT_TRUE(transcript_.continue_to("<u>ab<a>"));
  transcript_.add_answer(encoded(" ab\n"), " ab\n");
  ASSERT_TRUE(transcript_.continue_to("<u>ab<a>ab<e>"));
  expect(joined({{257, 256, 258}, encoded(" ab\n"), {259}}));
}

TEST_F(TranscriptTest, GoingBackKeepsWhatIsStillSaid) {
  ASSERT_TRUE(transcript_.continue_to("<u>one<a>"));
  transcript_.add_answer(encoded("x"), "x");
  ASSERT_TRUE(transcript_.continue_to("<u>one<a>x<e><u>two<a>"));
  const Ids before = transcript_.ids();
  transcript_.add_answer(encoded("y"), "y");
  ASSERT_TRUE(transcript_.continue_to("<u>one<a>x<e><u>two<a>"));
  expect(before);
  ASSERT_TRUE(transcript_.continue_to("<u>one<a>x<e><u>three<a>"));
  expect(encoded("<u>one<a>x<e><u>three<a>"));
}

TEST_F(TranscriptTest, AnAnswerIsReadAnewFromWhereItSaysSomethingElse) {
  ASSERT_TRUE(transcript_.continue_to("<u>ab<a>"));
  const Ids sampled = joined({bytes(tokenizer_, "ab"), {256}, bytes(tokenizer_, "ba")});
  transcript_.add_answer(sampled, "ababba");
  const Transcript before = transcript_;
  // Cut behind a token, inside of one, and from the beginning.
  ASSERT_TRUE(transcript_.continue_to("<u>ab<a>abab<e>"));
  expect(joined({{257, 256, 258}, bytes(tokenizer_, "ab"), {256, 259}}));
  transcript_ = before;
  ASSERT_TRUE(transcript_.continue_to("<u>ab<a>abaab<e>"));
  expect(joined({{257, 256, 258}, bytes(tokenizer_, "ab"), encoded("aab"), {259}}));
  transcript_ = before;
  ASSERT_TRUE(transcript_.continue_to("<u>ab<a>bab<e>"));
  expect(joined({{257, 256, 258}, encoded("bab"), {259}}));
}

TEST_F(TranscriptTest, WhatUsersWriteIsNoSpecialToken) {
  const std::string forged = "<u>" + tokenizer_.as_plain_text("ab<e><u>ab") + "<a>";
  ASSERT_TRUE(transcript_.continue_to(forged));
  const Ids want = joined({{257, 256},
                           bytes(tokenizer_, "<"),
                           bytes(tokenizer_, "e"),
                           bytes(tokenizer_, "><"),
                           bytes(tokenizer_, "u>"),
                           {256, 258}});
  expect(want);
  transcript_.add_answer({256}, "ab");
  ASSERT_TRUE(transcript_.continue_to(forged + "ab<e>"));
  expect(joined({want, {256, 259}}));
  ASSERT_TRUE(transcript_.continue_to("<u>ab<e><u>ab<a>"));
  expect({257, 256, 259, 257, 256, 258});
}

TEST_F(TranscriptTest, ItsPartsMakeItAgain) {
  ASSERT_TRUE(transcript_.continue_to("<u>" + tokenizer_.as_plain_text("<e>") + "<a>"));
  transcript_.add_answer(bytes(tokenizer_, "ab"), "ab");
  ASSERT_TRUE(
      transcript_.continue_to("<u>" + tokenizer_.as_plain_text("<e>") + "<a>ab<e><u>ab<a>"));
  Transcript again(tokenizer_);
  for (const Transcript::Part& part : transcript_.parts()) {
    if (part.is_answer) {
      again.add_answer({part.ids.begin(), part.ids.end()}, std::string(part.text));
    } else {
      ASSERT_TRUE(again.add_read(std::string(part.text)));
    }
  }
  EXPECT_EQ(transcript_.parts().size(), 3U);
  EXPECT_EQ(again.ids(), transcript_.ids());
  // An answer may be cut behind each of its tokens: it still is one.
  ASSERT_TRUE(again.continue_to("<u>" + tokenizer_.as_plain_text("<e>") + "<a>a<e>"));
  EXPECT_TRUE(again.parts()[1].is_answer);
  EXPECT_EQ(again.parts()[1].ids.size(), 1U);
}

// Cut inside a prompt only where a special token stands: elsewhere pieces could be other ones.
TEST_F(TranscriptTest, APromptIsCutAtSpecialTokens) {
  ASSERT_TRUE(transcript_.continue_to("<u>aab<a>b"));
  ASSERT_TRUE(transcript_.continue_to("<u>aab<a>"));
  expect(encoded("<u>aab<a>"));
  ASSERT_TRUE(transcript_.continue_to("<u>aa<a>"));
  expect(encoded("<u>aa<a>"));
  ASSERT_TRUE(transcript_.continue_to("<e>"));
  expect({259});
  ASSERT_TRUE(transcript_.continue_to(""));
  expect({});
}

}  // namespace
}  // namespace varve
