// The goldens' models, written as GGUF files and loaded again: the same logits.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "support/against_golden.h"
#include "support/as_gguf.h"
#include "support/golden.h"
#include "support/reference_run.h"

namespace varve {
namespace {

using testing_support::Golden;
using testing_support::golden_dir;
using testing_support::GoldenTensor;

struct Case {
  std::string name;
  // Bits can be equal only where the file has each row in its place: `llama` has those of q and k
  // in another order, so that sums of products of a head are, too.
  bool same_bits = true;
  bool split_kv_b = false;
  float tolerance = 0;  // to the golden, else
};

class GgufModels : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    path_ = fmt::format("{}gguf_models_{}.gguf", testing::TempDir(), GetParam().name);
    testing_support::write_as_gguf(golden_dir(GetParam().name), path_,
                                   {.split_kv_b = GetParam().split_kv_b});
    options_.n_threads = 2;
    options_.chunk_tokens = 128;
  }
  void TearDown() override { std::filesystem::remove(path_); }

  std::string path_;
  EngineOptions options_;
};

TEST_P(GgufModels, SameLogits) {
  const std::string dir = golden_dir(GetParam().name);
  const Golden golden(dir + "/golden.safetensors");
  const std::vector<int32_t> ids = golden["ids"].ints;
  const auto model = testing_support::load_or_fail(path_);
  const auto original = testing_support::load_or_fail(dir);
  EXPECT_EQ(model->family(), original->family());
  EXPECT_EQ(model->vocab_size(), original->vocab_size());
  EXPECT_EQ(model->max_position(), original->max_position());
  EXPECT_EQ(model->bos_id(), original->bos_id());
  EXPECT_TRUE(std::equal(model->eos_ids().begin(), model->eos_ids().end(),
                         original->eos_ids().begin(), original->eos_ids().end()));
  const std::vector<float> mine = testing_support::all_logits(model, ids, options_);
  if (GetParam().same_bits) {
    const std::vector<float> want = testing_support::all_logits(original, ids, options_);
    EXPECT_TRUE(mine == want);
    return;
  }
  const GoldenTensor want = golden["logits"];
  ASSERT_EQ(mine.size(), want.floats.size());
  testing_support::expect_near(mine.data(), want.floats.data(), static_cast<int64_t>(mine.size()),
                               GetParam().tolerance, "logits");
}

INSTANTIATE_TEST_SUITE_P(
    All, GgufModels,
    testing::Values(Case{.name = "mha-llama", .same_bits = false, .tolerance = 1e-4f},
                    Case{.name = "gqa-llama3", .same_bits = false, .tolerance = 1e-3f},
                    Case{.name = "gqa-mistral-swa", .same_bits = false, .tolerance = 1e-4f},
                    Case{.name = "gqa-qwen2"}, Case{.name = "gqa-qwen3"},
                    Case{.name = "mla-deepseek-v2"},
                    Case{.name = "mla-deepseek-v3", .split_kv_b = true}, Case{.name = "v4-micro"},
                    Case{.name = "v4-pro-mini"}),
    [](const auto& param) {
      std::string name = param.param.name;
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

}  // namespace
}  // namespace varve
