// Models of unusual shapes (windows of 1, ratios of 2 to 16, three heads, one residual stream,
// Transformers' names, F32 scales, ...), each with the logits of an independent oracle
// (tests/oracle/random_model.py): the forward pass holds for what a config names, not for Flash.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "support/golden.h"
#include "support/reference_run.h"

namespace varve {
namespace {

using testing_support::Golden;
using testing_support::GoldenTensor;

constexpr float kTolerance = 1e-4f;

TEST(Shapes, LogitsAtEveryPosition) {
  int n_models = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(testing_support::data_dir() + "/shapes")) {
    const std::string path = entry.path().string();
    const auto model = testing_support::load_or_fail(path);
    const Golden golden(path + "/golden.safetensors");
    const GoldenTensor want = golden["logits"];
    for (const Kernels* kernels : available_kernels()) {
      for (int chunk : {1, 100}) {
        const std::vector<float> mine = testing_support::all_logits(
            model, golden["ids"].ints, {.chunk_tokens = chunk, .n_threads = 2, .kernels = kernels});
        ASSERT_EQ(mine.size(), want.floats.size());
        float most = 0;
        for (size_t i = 0; i < mine.size(); ++i) {
          const float difference = std::fabs(mine[i] - want.floats[i]);
          if (!(difference <= most)) most = difference;
        }
        EXPECT_LE(most, kTolerance) << path << ", " << kernels->name << ", chunks of " << chunk;
      }
    }
    ++n_models;
  }
  EXPECT_GE(n_models, 10);
}

}  // namespace
}  // namespace varve
