// The families before DeepSeek-V4 against an outside oracle, for every kernel set: logits at every
// position, the residual stream after every layer, greedy continuations.
#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

#include "support/against_golden.h"
#include "support/golden.h"
#include "support/reference_run.h"

namespace varve {
namespace {

using testing_support::Golden;
using testing_support::GoldenTensor;

struct Family {
  std::string name;
  float tolerance;  // of logits: their size differs
};

class Families : public testing::TestWithParam<std::tuple<Family, std::string>> {
 protected:
  Families()
      : family_(std::get<0>(GetParam())),
        model_(testing_support::load_or_fail(testing_support::golden_dir(family_.name))),
        golden_(testing_support::golden_dir(family_.name) + "/golden.safetensors") {
    options_.kernels = select_kernels(std::get<1>(GetParam())).value();
    options_.n_threads = 2;
    options_.chunk_tokens = 128;
  }

  Family family_;
  std::shared_ptr<const Model> model_;
  Golden golden_;
  EngineOptions options_;
};

TEST_P(Families, LogitsAtEveryPosition) {
  const GoldenTensor want = golden_["logits"];
  const std::vector<float> mine =
      testing_support::all_logits(model_, golden_["ids"].ints, options_);
  ASSERT_EQ(mine.size(), want.floats.size());
  testing_support::expect_near(mine.data(), want.floats.data(), static_cast<int64_t>(mine.size()),
                               family_.tolerance, "logits");
}

TEST_P(Families, TheStreamAfterEveryLayer) {
  testing_support::Recorder recorder;
  (void)testing_support::all_logits(model_, golden_["ids"].ints, options_, &recorder);
  const std::vector<int32_t> at = golden_["at"].ints;
  const auto names = golden_.names_with_prefix("hidden.");
  ASSERT_FALSE(names.empty());
  for (const std::string& name : names) {
    const GoldenTensor want = golden_[name];
    const std::vector<float>& mine = recorder.floats_.at({"hidden", std::stoi(name.substr(7))});
    for (size_t i = 0; i < at.size(); ++i) {
      testing_support::expect_near(mine.data() + at[i] * want.width(),
                                   want.row(static_cast<int64_t>(i)), want.width(),
                                   family_.tolerance, name + " at " + std::to_string(at[i]));
    }
  }
}

TEST_P(Families, GreedyContinuations) {
  constexpr int32_t kPadding = 2;  // of the oracle's generation, not of its logits
  testing_support::expect_greedy_continuations(model_, golden_, options_, kPadding);
}

std::vector<std::string> kernel_names() {
  std::vector<std::string> names;
  for (const Kernels* set : available_kernels()) names.emplace_back(set->name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(
    All, Families,
    testing::Combine(testing::Values(Family{"mha-llama", 1e-4f}, Family{"gqa-llama3", 1e-3f},
                                     Family{"gqa-qwen2", 1e-3f}, Family{"gqa-qwen3", 1e-3f},
                                     Family{"gqa-mistral-swa", 1e-4f},
                                     Family{"mla-deepseek-v2", 1e-4f},
                                     Family{"mla-deepseek-v3", 1e-4f},
                                     Family{"dsa-deepseek-v32", 1e-4f}),
                     testing::ValuesIn(kernel_names())),
    [](const auto& param) {
      std::string name = std::get<0>(param.param).name + "_" + std::get<1>(param.param);
      std::replace_if(name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
      return name;
    });

}  // namespace
}  // namespace varve
