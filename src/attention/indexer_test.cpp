#include "attention/indexer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "base/rng.h"

namespace varve {
namespace {

// By a full stable sort: slow and obvious.
std::vector<int32_t> sorted_top_k(const std::vector<float>& scores, int k) {
  std::vector<int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
  });
  order.resize(std::min(order.size(), static_cast<size_t>(k)));
  std::sort(order.begin(), order.end());
  return order;
}

std::vector<int32_t> top_k(const std::vector<float>& scores, int k) {
  std::vector<uint32_t> keys(scores.size());
  std::vector<int32_t> picks(static_cast<size_t>(k));
  picks.resize(static_cast<size_t>(
      select_top_k(scores.data(), static_cast<int>(scores.size()), k, keys.data(), picks.data())));
  return picks;
}

TEST(SelectTopK, EqualsASortWithTies) {
  Rng rng(3);
  for (int round = 0; round < 500; ++round) {
    std::vector<float> scores(1 + rng.below(200));
    const int levels = 1 + static_cast<int>(rng.below(20));  // few levels: many ties
    for (float& s : scores) {
      s = static_cast<float>(rng.below(static_cast<uint64_t>(levels))) - 5.0f;
    }
    const int k = 1 + static_cast<int>(rng.below(64));
    EXPECT_EQ(top_k(scores, k), sorted_top_k(scores, k));
  }
}

TEST(SelectTopK, BothZerosAreEqual) {
  EXPECT_EQ(top_k({-0.0f, 0.0f, -0.0f, 0.0f}, 2), (std::vector<int32_t>{0, 1}));
}

TEST(SelectTopK, SurvivesNan) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(top_k({1.0f, nan, 2.0f, nan, -1.0f}, 3).size(), 3u);
}

}  // namespace
}  // namespace varve
