#include "server/stop_strings.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace varve::server {
namespace {

TEST(StopStrings, TextBeforeTheFirstOneIsLetThrough) {
  StopStrings stops({"END", "\n\n"});
  EXPECT_EQ(stops.push("one E"), "one ");
  EXPECT_EQ(stops.push("N"), "");
  EXPECT_EQ(stops.push("? two\n"), "EN? two");
  EXPECT_FALSE(stops.met());
  EXPECT_EQ(stops.push("\nEND"), "");
  EXPECT_EQ(stops.met(), "\n\n");
  EXPECT_EQ(stops.push("more"), "");
  EXPECT_EQ(stops.finish(), "");
  EXPECT_EQ(stops.n_released(), 11U);
}

TEST(StopStrings, WithoutAnyNothingIsHeldBack) {
  StopStrings stops({});
  EXPECT_EQ(stops.push("a"), "a");
  EXPECT_EQ(stops.finish(), "");
}

TEST(StopStrings, WhatWasInDoubtComesAtTheEnd) {
  StopStrings stops({"abc"});
  EXPECT_EQ(stops.push("xab"), "x");
  EXPECT_EQ(stops.finish(), "ab");
}

// Texts over two letters, where stop strings overlap with themselves and each other, in random
// pieces, against a search in the whole text.
TEST(StopStrings, PiecesMakeNoDifference) {
  Rng rng(1);
  const auto word = [&](uint64_t n) {
    std::string text;
    for (uint64_t i = 0; i < n; ++i) text += rng.below(2) == 0 ? 'a' : 'b';
    return text;
  };
  int n_met = 0;
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::string> list;
    for (uint64_t i = rng.below(4); i > 0; --i) list.push_back(word(1 + rng.below(6)));
    const std::string text = word(rng.below(30));
    size_t begin = std::string::npos;
    for (size_t end = 1; end <= text.size() && begin == std::string::npos; ++end) {
      for (const std::string& stop : list) {
        if (text.substr(0, end).ends_with(stop)) begin = std::min(begin, end - stop.size());
      }
    }

    StopStrings stops(list);
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const size_t n = 1 + rng.below(5);
      out += stops.push(std::string_view(text).substr(at, n));
      at += n;
    }
    out += stops.finish();
    EXPECT_EQ(stops.met().has_value(), begin != std::string::npos);
    EXPECT_EQ(out, text.substr(0, begin));
    EXPECT_EQ(stops.n_released(), out.size());
    n_met += stops.met() ? 1 : 0;
  }
  EXPECT_GT(n_met, 500);
  EXPECT_LT(n_met, 4500);
}

}  // namespace
}  // namespace varve::server
