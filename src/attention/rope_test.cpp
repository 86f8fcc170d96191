#include "attention/rope.h"

#include <gtest/gtest.h>

#include <cmath>

namespace varve {
namespace {

TEST(Rope, YarnFrequenciesAreTheSpecs) {
  const Rope rope(64, 160000, YarnScaling{.factor = 16});
  const auto& f = rope.frequencies();
  ASSERT_EQ(f.size(), 32u);
  // Spec 2.2, check values.
  EXPECT_FLOAT_EQ(f[0], 1.0f);
  EXPECT_NEAR(f[1], 0.6876560, 1e-6);
  EXPECT_NEAR(f[15], 3.6355386e-3, 1e-9);
  EXPECT_NEAR(f[16], 2.265625e-3, 1e-9);
  EXPECT_NEAR(f[20], 2.9697780e-4, 1e-10);
  EXPECT_NEAR(f[24], 1.953e-5, 1e-8);
  EXPECT_NEAR(f[25], 5.3723e-6, 1e-9);
  EXPECT_NEAR(f[31], 5.681e-7, 1e-10);
}

TEST(Rope, WithoutYarnIsTheGeometricSeries) {
  const Rope rope(8, 10000, YarnScaling{});
  for (int i = 0; i < 4; ++i) {
    EXPECT_NEAR(rope.frequencies()[static_cast<size_t>(i)], std::pow(10000.0, -i / 4.0), 1e-6);
  }
  float cos[4], sin[4];
  rope.angles(3, cos, sin);
  EXPECT_FLOAT_EQ(cos[0], std::cos(3.0f));
  EXPECT_FLOAT_EQ(sin[1], std::sin(0.3f));
}

}  // namespace
}  // namespace varve
