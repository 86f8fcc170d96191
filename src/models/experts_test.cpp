#include "models/experts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/rng.h"

namespace varve {
namespace {

std::vector<int32_t> chosen(const std::vector<float>& score, const std::vector<float>& bias,
                            int k) {
  std::vector<int32_t> out(static_cast<size_t>(k));
  choose_experts(score.data(), bias.data(), static_cast<int>(score.size()), k, out.data());
  return out;
}

TEST(ChooseExperts, TheHighestFirstAndEqualOnesByIndex) {
  Rng rng(1);
  for (const int n : {1, 7, 256}) {
    std::vector<float> score, bias;
    for (int e = 0; e < n; ++e) {
      score.push_back(static_cast<float>(rng.below(8)));  // many are equal
      bias.push_back(static_cast<float>(rng.below(4)));
    }
    std::vector<int32_t> sorted(static_cast<size_t>(n));
    std::iota(sorted.begin(), sorted.end(), 0);
    std::sort(sorted.begin(), sorted.end(), [&](int32_t a, int32_t b) {
      const auto i = static_cast<size_t>(a), j = static_cast<size_t>(b);
      const float of_a = score[i] + bias[i], of_b = score[j] + bias[j];
      return of_a > of_b || (of_a == of_b && a < b);
    });
    for (const int k : {1, std::min(n, 8), n}) {
      EXPECT_EQ(chosen(score, bias, k), std::vector(sorted.begin(), sorted.begin() + k));
    }
  }
}

TEST(ChooseExperts, InfinitiesAndNaNsComeLast) {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> zero(5, 0.0f);
  EXPECT_EQ(chosen({nan, -inf, -1, inf, 2}, zero, 5), (std::vector{3, 4, 2, 0, 1}));
  EXPECT_EQ(chosen({nan, nan, nan, nan, nan}, zero, 3), (std::vector{0, 1, 2}));
}

// A pass over all for each one chosen, with those chosen so far left out one by one, would be n k^2
// steps: minutes a token at sizes that a config may name.
TEST(ChooseExperts, AsManyAsAConfigMayName) {
  std::vector<float> score(1 << 16);
  std::iota(score.begin(), score.end(), 0.0f);
  const std::vector<float> bias(score.size(), 0.0f);
  std::vector<int32_t> last(1024);
  std::iota(last.rbegin(), last.rend(), 65536 - 1024);
  EXPECT_EQ(chosen(score, bias, 1024), last);
}

}  // namespace
}  // namespace varve
