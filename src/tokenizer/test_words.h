// The words that a pre-tokenizer cuts a text into.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/pretokenizer.h"

namespace varve {

using Words = std::vector<std::string>;

inline Words words_of(const Pretokenizer& pretokenizer, std::string_view text) {
  class Collector final : public WordSink {
   public:
    bool word(std::string_view word, bool /*lasting*/) override {
      words.emplace_back(word);
      return true;
    }
    Words words;
  };
  RegexScratch scratch(text.size());
  Collector collector;
  EXPECT_TRUE(pretokenizer.split(text, scratch, collector));
  return collector.words;
}

}  // namespace varve
