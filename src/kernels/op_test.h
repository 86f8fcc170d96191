// What the tests of ops have in common.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "kernels/compare.h"
#include "kernels/kernels.h"

namespace varve {

inline constexpr int kSizes[] = {1, 3, 15, 16, 17, 31, 33, 64, 100, 127, 128, 192, 257, 512};

struct alignas(64) WorkspaceLine {
  float values[16];
};
inline float* workspace() {
  static std::vector<WorkspaceLine> lines(kWorkspaceFloats / 16);
  return lines.front().values;
}

inline std::string name(const Kernels& set) {
  return fmt::format("{} ({})", set.name, set.description);
}

inline void expect_close(const float* got, const float* want, size_t n, double relative) {
  const Comparison error = compare(got, want, n);
  ASSERT_TRUE(error.within(relative)) << error.text();
}

inline bool same(const float* a, const float* b, size_t n) {
  return std::memcmp(a, b, n * sizeof(float)) == 0;
}

}  // namespace varve
