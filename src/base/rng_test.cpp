#include "base/rng.h"

#include <gtest/gtest.h>

namespace varve {
namespace {

TEST(Rng, StreamIsFixed) {
  Rng rng(0);
  EXPECT_EQ(rng.next(), 0xE220A8397B1DCDAFu);  // first output of SplitMix64 for seed 0
  EXPECT_EQ(rng.next(), 0x6E789E6AA1B965F4u);
}

TEST(Rng, MomentsAreRight) {
  Rng rng(7);
  const int n = 200000;
  double sum = 0, squares = 0, uniform = 0;
  for (int i = 0; i < n; ++i) {
    const double x = rng.normal();
    sum += x;
    squares += x * x;
    uniform += rng.uniform();
    ASSERT_LT(rng.below(17), 17u);
  }
  EXPECT_NEAR(sum / n, 0, 0.01);
  EXPECT_NEAR(squares / n, 1, 0.01);
  EXPECT_NEAR(uniform / n, 0.5, 0.01);
}

}  // namespace
}  // namespace varve
