#include "eval/divergence.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "eval/logits.h"

namespace varve {
namespace {

// Logits whose softmax is this, moved by an offset that must not matter.
std::vector<float> logits_of(const std::vector<double>& p, double offset) {
  std::vector<float> out;
  for (const double one : p) out.push_back(static_cast<float>(std::log(one) + offset));
  return out;
}

Divergence diverge(std::span<const float> reference, std::span<const float> test, int next_id) {
  ReferenceRow row;
  row.assign(reference);
  return row.compare(test, next_id);
}

TEST(Divergence, IsTheSumOfPLogPOverQ) {
  const auto p = logits_of({0.5, 0.25, 0.25}, 3), q = logits_of({0.25, 0.5, 0.25}, -40);
  const Divergence d = diverge(p, q, 1);
  EXPECT_NEAR(d.kld, 0.25 * std::log(2.0), 1e-6);  // .5 log 2 + .25 log .5
  EXPECT_FALSE(d.same_top);
  EXPECT_NEAR(d.delta_p, 0.25, 1e-6);
}

TEST(Divergence, IsNotSymmetric) {
  const auto p = logits_of({0.9, 0.1}, 0), q = logits_of({0.5, 0.5}, 0);
  EXPECT_NEAR(diverge(p, q, 0).kld, 0.9 * std::log(1.8) + 0.1 * std::log(0.2), 1e-6);
  EXPECT_NEAR(diverge(q, p, 0).kld, 0.5 * std::log(5.0 / 9) + 0.5 * std::log(5.0), 1e-6);
}

TEST(Divergence, OfARowFromItselfIsExactlyZero) {
  std::vector<float> logits;
  for (int i = 0; i < 997; ++i) logits.push_back(std::sin(static_cast<float>(i * i)) * 17);
  const Divergence d = diverge(logits, logits, 400);
  EXPECT_EQ(d.kld, 0);
  EXPECT_EQ(d.delta_p, 0);
  EXPECT_TRUE(d.same_top);
  EXPECT_EQ(d.top5_overlap, 5);
}

TEST(Divergence, IsNeverBelowZero) {
  for (int seed = 0; seed < 200; ++seed) {
    std::vector<float> a, b;
    for (int i = 0; i < 50; ++i) {
      a.push_back(std::sin(static_cast<float>(i + 51 * seed)) * 30);
      b.push_back(a.back() + 1e-6f * static_cast<float>(i % 3));
    }
    EXPECT_GE(diverge(a, b, 0).kld, 0);
  }
}

TEST(Divergence, TopFiveAreCountedWhateverTheirOrder) {
  const std::vector<float> p = {9, 8, 7, 6, 5, 4, 3}, q = {5, 6, 7, 8, 1, 9, 2};
  const Divergence d = diverge(p, q, 0);
  EXPECT_EQ(d.top5_overlap, 4);  // 0 to 3 of 0 to 4
  EXPECT_FALSE(d.same_top);
  const std::vector<float> ties = {1, 1, 1, 1, 1, 1, 1};  // the lower ids come first
  EXPECT_EQ(diverge(p, ties, 0).top5_overlap, 5);
  EXPECT_TRUE(diverge(p, ties, 0).same_top);
}

TEST(Divergence, OfWhatIsNotFiniteIsInfinite) {
  const std::vector<float> p = {1, 2, 3};
  const float inf = std::numeric_limits<float>::infinity();
  for (const std::vector<float>& q : {std::vector<float>{1, inf, 3}, {1, -inf, 3}, {1, NAN, 3}}) {
    const Divergence d = diverge(p, q, 2);
    EXPECT_TRUE(std::isinf(d.kld));
    EXPECT_FALSE(d.same_top);
    EXPECT_EQ(d.top5_overlap, 0);
    EXPECT_LT(d.delta_p, -0.6);
  }
}

TEST(Divergence, ARowMayBeAssignedAgain) {
  ReferenceRow row;
  row.assign(logits_of({0.25, 0.25, 0.25, 0.25}, 0));
  const auto p = logits_of({0.5, 0.5}, 0);
  row.assign(p);
  EXPECT_EQ(row.compare(p, 0).kld, 0);
}

TEST(Divergence, Summary) {
  std::vector<Divergence> all;
  for (int i = 1000; i >= 0; --i) {
    all.push_back({.kld = i / 1000.0,
                   .same_top = i % 4 != 0,
                   .top5_overlap = i % 2 == 0 ? 5 : 4,
                   .delta_p = i % 2 == 0 ? 0.01 : -0.01});
  }
  const DivergenceSummary s = summarise(all);
  EXPECT_EQ(s.n, 1001u);
  EXPECT_NEAR(s.kld.mean, 0.5, 1e-12);
  EXPECT_NEAR(s.kld.error, std::sqrt(1001 * 1002.0 / 12) / 1000 / std::sqrt(1001.0), 1e-9);
  EXPECT_NEAR(s.median, 0.5, 1e-12);
  EXPECT_NEAR(s.p90, 0.9, 1e-12);
  EXPECT_NEAR(s.p95, 0.95, 1e-12);
  EXPECT_NEAR(s.p99, 0.99, 1e-12);
  EXPECT_NEAR(s.p999, 0.999, 1e-12);
  EXPECT_EQ(s.max, 1);
  EXPECT_NEAR(s.same_top.mean, 750.0 / 1001, 1e-12);
  EXPECT_NEAR(s.top5_overlap.mean, (501 + 500 * 0.8) / 1001, 1e-12);
  EXPECT_NEAR(s.delta_p.mean, 0.01 / 1001, 1e-12);
  EXPECT_NEAR(s.delta_p_rms, 0.01, 1e-12);
}

TEST(Logits, LikelihoodsAndRanks) {
  const auto logits = logits_of({0.1, 0.6, 0.1, 0.2}, 500);
  EXPECT_NEAR(negative_log_likelihood(logits, 3), -std::log(0.2), 1e-4);  // f32 around 500
  const std::vector<float> ties = {2, 3, 2, 3};
  EXPECT_EQ(rank_of(ties, 1), 0);
  EXPECT_EQ(rank_of(ties, 3), 1);
  EXPECT_EQ(rank_of(ties, 0), 2);
  EXPECT_EQ(rank_of(ties, 2), 3);
}

}  // namespace
}  // namespace varve
