#include "eval/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace varve {
namespace {

TEST(Statistics, MeanAndStandardError) {
  const std::vector<double> values = {1, 2, 3, 4};
  const Estimate four = estimate(values);
  EXPECT_DOUBLE_EQ(four.mean, 2.5);
  EXPECT_DOUBLE_EQ(four.error, std::sqrt(5.0 / 3 / 4));  // s^2 = 5 / 3
  const Estimate one = estimate(std::vector<double>{7});
  EXPECT_EQ(one.mean, 7);
  EXPECT_EQ(one.error, 0);
  EXPECT_EQ(estimate({}).mean, 0);
}

TEST(Statistics, AShareHasTheErrorOfACoin) {
  std::vector<double> values(100, 0.0);
  for (int i = 0; i < 25; ++i) values[static_cast<size_t>(i)] = 1;
  EXPECT_DOUBLE_EQ(estimate(values).error, std::sqrt(0.25 * 0.75 / 99));
}

TEST(Statistics, QuantilesLieBetweenNeighbours) {
  const std::vector<double> values = {0, 10, 20, 30, 40};
  EXPECT_DOUBLE_EQ(quantile(values, 0), 0);
  EXPECT_DOUBLE_EQ(quantile(values, 0.5), 20);
  EXPECT_DOUBLE_EQ(quantile(values, 0.9), 36);
  EXPECT_DOUBLE_EQ(quantile(values, 1), 40);
  EXPECT_DOUBLE_EQ(quantile(std::vector<double>{3}, 0.99), 3);
}

TEST(Statistics, InfinityStaysInItsPlace) {
  const std::vector<double> values = {1, 2, std::numeric_limits<double>::infinity()};
  EXPECT_EQ(quantile(values, 0.5), 2);
  EXPECT_TRUE(std::isinf(quantile(values, 0.75)));
  EXPECT_TRUE(std::isinf(estimate(values).mean));
}

TEST(Statistics, RootMeanSquare) {
  EXPECT_DOUBLE_EQ(root_mean_square(std::vector<double>{3, -4}), std::sqrt(12.5));
  EXPECT_EQ(root_mean_square({}), 0);
}

}  // namespace
}  // namespace varve
