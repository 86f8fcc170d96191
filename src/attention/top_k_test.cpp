#include "attention/top_k.h"

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

// Scores are given in parts of `step`, to `n_streams` streams in turns that are merged.
std::vector<int32_t> top_k(const std::vector<float>& scores, int k, int step = 7,
                           size_t n_streams = 1) {
  std::vector<std::vector<uint64_t>> rooms(n_streams, std::vector<uint64_t>(TopK::room(k)));
  std::vector<TopK> streams(n_streams);
  for (size_t i = 0; i < n_streams; ++i) streams[i].start(k, rooms[i].data());
  const int n = static_cast<int>(scores.size());
  for (int i = 0, turn = 0; i < n; i += step, ++turn) {
    streams[static_cast<size_t>(turn) % n_streams].add(scores.data() + i, std::min(step, n - i), i);
  }
  for (size_t i = 1; i < n_streams; ++i) streams[0].merge(streams[i]);
  std::vector<int32_t> picks(static_cast<size_t>(k));
  picks.resize(static_cast<size_t>(streams[0].finish(picks.data())));
  return picks;
}

TEST(TopK, EqualsASortWithTies) {
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

TEST(TopK, LongStreams) {
  Rng rng(5);
  for (const bool ascending : {false, true}) {
    std::vector<float> scores(20000);
    for (size_t i = 0; i < scores.size(); ++i) {
      scores[i] = ascending ? static_cast<float>(i / 3) : rng.normal();
    }
    for (const int k : {1, 100, 1000}) {
      for (const int step : {1, 31, 1024}) {
        for (const size_t n_streams : {1u, 2u, 5u}) {
          EXPECT_EQ(top_k(scores, k, step, n_streams), sorted_top_k(scores, k));
        }
      }
    }
  }
}

TEST(TopK, BothZerosAreEqual) {
  EXPECT_EQ(top_k({-0.0f, 0.0f, -0.0f, 0.0f}, 2), (std::vector<int32_t>{0, 1}));
}

TEST(TopK, SurvivesNan) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(top_k({1.0f, nan, 2.0f, nan, -1.0f}, 3).size(), 3u);
  EXPECT_EQ(top_k(std::vector<float>(5000, nan), 3), (std::vector<int32_t>{0, 1, 2}));
}

}  // namespace
}  // namespace varve
