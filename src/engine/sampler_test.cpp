#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

namespace varve {
namespace {

Sampler make(const SamplerOptions& options, int vocab) {
  auto sampler = Sampler::create(options, vocab);
  EXPECT_TRUE(sampler) << sampler.error().message;
  return std::move(*sampler);
}

std::map<int32_t, int> draw(Sampler& sampler, const std::vector<float>& logits, int n) {
  std::map<int32_t, int> counts;
  for (int i = 0; i < n; ++i) ++counts[sampler.sample(logits)];
  return counts;
}

TEST(Sampler, GreedyTakesTheLowestOfEquals) {
  Sampler sampler = make({.temperature = 0}, 4);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(sampler.sample(std::vector<float>{1, 3, 3, 2}), 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{nan, -3, -3, nan}), 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{nan, nan, nan, nan}), 0);
}

TEST(Sampler, BiasComesFirst) {
  Sampler sampler = make({.logit_bias = {{2, 5.0f}}, .temperature = 0}, 3);
  EXPECT_EQ(sampler.sample(std::vector<float>{1, 2, 0}), 2);
}

TEST(Sampler, DrawsWithTheProbabilitiesOfTheSoftmax) {
  Sampler sampler = make({.temperature = 2, .seed = 9}, 3);
  const std::vector<float> logits = {2, 0, 4};
  const int n = 60000;
  auto counts = draw(sampler, logits, n);
  double total = 0;
  for (float l : logits) total += std::exp(l / 2);
  for (int id = 0; id < 3; ++id) {
    const double p = std::exp(logits[static_cast<size_t>(id)] / 2) / total;
    EXPECT_NEAR(counts[id] / static_cast<double>(n), p, 0.01);
  }
}

TEST(Sampler, FiltersKeepWhatTheySay) {
  const std::vector<float> logits = {0, 3, 2, 1};  // p = .032 .644 .237 .087
  Sampler top_k = make({.top_k = 2, .seed = 1}, 4);
  for (const auto& [id, count] : draw(top_k, logits, 2000)) EXPECT_TRUE(id == 1 || id == 2);
  Sampler top_p = make({.top_p = 0.7f, .seed = 1}, 4);  // .644 is short of it, so two
  auto counts = draw(top_p, logits, 2000);
  EXPECT_EQ(counts.size(), 2u);
  EXPECT_TRUE(counts.contains(2));
  Sampler min_p = make({.min_p = 0.2f, .seed = 1}, 4);  // at least .129
  counts = draw(min_p, logits, 2000);
  EXPECT_EQ(counts.size(), 2u);
  Sampler tiny_top_p = make({.top_p = 1e-6f, .seed = 1}, 4);
  counts = draw(tiny_top_p, logits, 100);
  EXPECT_EQ(counts.size(), 1u);
}

// A mask of some of the ids of a vocabulary.
std::vector<uint32_t> mask_of(const std::vector<int32_t>& ids, int vocab) {
  std::vector<uint32_t> mask((static_cast<size_t>(vocab) + 31) / 32);
  for (const int32_t id : ids) {
    mask[static_cast<size_t>(id) / 32] |= uint32_t{1} << (static_cast<size_t>(id) % 32);
  }
  return mask;
}

TEST(Sampler, TakesWhatIsAllowed) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> logits(70, 0.0f);
  logits[3] = 9;
  logits[64] = 5;
  logits[69] = 5;
  Sampler greedy = make({.logit_bias = {{3, 50.0f}, {68, 6.0f}}, .temperature = 0}, 70);
  EXPECT_EQ(greedy.sample(logits), 3);
  EXPECT_EQ(greedy.sample(logits, mask_of({1, 64, 69}, 70)), 64);
  EXPECT_EQ(greedy.sample(logits, mask_of({1, 69}, 70)), 69);
  EXPECT_EQ(greedy.sample(logits, mask_of({64, 68}, 70)), 68);
  logits[69] = nan;
  EXPECT_EQ(greedy.sample(logits, mask_of({69}, 70)), 69);
}

// The others might as well not be there: probabilities, top-k, top-p and min-p are of those that
// are allowed.
TEST(Sampler, DrawsAsIfThereWereNoOthers) {
  const std::vector<float> logits = {8, 1, 9, 3, 2, 7};
  const std::vector<float> without = {1, 3, 2};
  const std::vector<int32_t> ids = {1, 3, 4};
  for (const SamplerOptions& options :
       {SamplerOptions{.seed = 7}, SamplerOptions{.top_k = 2, .seed = 7},
        SamplerOptions{.top_p = 0.7f, .seed = 7}, SamplerOptions{.min_p = 0.2f, .seed = 7}}) {
    Sampler some = make(options, 6);
    Sampler all = make(options, 3);
    for (int i = 0; i < 500; ++i) {
      EXPECT_EQ(some.sample(logits, mask_of(ids, 6)),
                ids[static_cast<size_t>(all.sample(without))]);
    }
  }
}

TEST(Sampler, AllowingAllIsNoConstraint) {
  std::vector<float> logits(100);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i * 37 % 11);
  const std::vector<uint32_t> all(4, ~uint32_t{0});
  Sampler free = make({.top_k = 40, .top_p = 0.9f, .seed = 3}, 100);
  Sampler held = make({.top_k = 40, .top_p = 0.9f, .seed = 3}, 100);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(free.sample(logits), held.sample(logits, all));
}

TEST(Sampler, TheSeedFixesTheDraws) {
  const std::vector<float> logits(50, 0.0f);
  Sampler a = make({.seed = 5}, 50), b = make({.seed = 5}, 50), c = make({.seed = 6}, 50);
  int differ = 0;
  for (int i = 0; i < 100; ++i) {
    const int32_t from_a = a.sample(logits);
    EXPECT_EQ(from_a, b.sample(logits));
    differ += from_a != c.sample(logits);
  }
  EXPECT_GT(differ, 50);
}

TEST(Sampler, RefusesOptionsOutOfRange) {
  EXPECT_FALSE(Sampler::create({.temperature = -1}, 4));
  EXPECT_FALSE(Sampler::create({.temperature = std::nanf("")}, 4));
  EXPECT_FALSE(Sampler::create({.top_k = -1}, 4));
  EXPECT_FALSE(Sampler::create({.top_p = 0}, 4));
  EXPECT_FALSE(Sampler::create({.min_p = 1.5f}, 4));
  EXPECT_FALSE(Sampler::create({.logit_bias = {{4, 1.0f}}}, 4));
  EXPECT_FALSE(Sampler::create({.logit_bias = {{1, std::numeric_limits<float>::infinity()}}}, 4));
}

}  // namespace
}  // namespace varve
