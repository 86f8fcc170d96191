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
