// The forward pass against an outside oracle, for every kernel set: logits at every position,
// intermediates of every layer, greedy continuations.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "engine/generate.h"
#include "support/against_golden.h"
#include "support/golden.h"
#include "support/reference_run.h"

namespace varve {
namespace {

using testing_support::expect_near;
using testing_support::Golden;
using testing_support::GoldenTensor;
using testing_support::Recorder;

constexpr float kTolerance = 1e-4f;
// A pick whose score is this close to the best one left out may flip by honest rounding.
constexpr float kHonestGap = 1e-5f;

class Goldens : public testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  Goldens()
      : model_(testing_support::load_or_fail(testing_support::golden_dir(std::get<0>(GetParam())))),
        golden_(testing_support::golden_dir(std::get<0>(GetParam())) + "/golden.safetensors") {
    options_.kernels = select_kernels(std::get<1>(GetParam())).value();
    options_.n_threads = 2;
    options_.chunk_tokens = 128;
  }

  std::shared_ptr<const Model> model_;
  Golden golden_;
  EngineOptions options_;
};

TEST_P(Goldens, LogitsAtEveryPosition) {
  const GoldenTensor want = golden_["logits"];
  const std::vector<float> mine =
      testing_support::all_logits(model_, golden_["ids"].ints, options_);
  ASSERT_EQ(mine.size(), want.floats.size());
  int64_t n_off = 0;
  float most = 0;
  for (int64_t t = 0; t < want.rows(); ++t) {
    float row_most = 0;
    for (int64_t v = 0; v < want.width(); ++v) {
      const float difference =
          std::fabs(mine[static_cast<size_t>(t * want.width() + v)] - want.row(t)[v]);
      if (!(difference <= row_most)) row_most = difference;
    }
    if (!(row_most <= kTolerance)) ++n_off;
    most = std::max(most, row_most);
  }
  // Under 0.5 % of the positions may differ by a flipped pick.
  EXPECT_LE(static_cast<double>(n_off), 0.005 * static_cast<double>(want.rows()))
      << "largest difference " << most;
  RecordProperty("positions_off", static_cast<int>(n_off));
  std::printf("%s, %s: %d of %d positions off; largest difference %.2e\n",
              std::get<0>(GetParam()).c_str(), std::get<1>(GetParam()).c_str(),
              static_cast<int>(n_off), static_cast<int>(want.rows()), static_cast<double>(most));
}

TEST_P(Goldens, IntermediatesOfEveryLayer) {
  Recorder recorder;
  const std::vector<int32_t> ids = golden_["ids"].ints;
  options_.ctx_tokens = static_cast<int>(ids.size());
  const auto engine = testing_support::engine_or_fail(model_, options_);
  engine->set_probe(&recorder);
  Session session = testing_support::session_or_fail(*engine);
  ASSERT_TRUE(session.append(ids));

  const std::vector<int32_t> at = golden_["at"].ints;
  const CacheShape shape = model_->cache_shape();
  for (int l = 0; l < static_cast<int>(shape.layers.size()); ++l) {
    const LayerShape& layer = shape.layers[static_cast<size_t>(l)];
    const std::string suffix = "." + std::to_string(l);
    for (const char* name : {"streams", "attn_out", "window_rows"}) {
      const GoldenTensor want = golden_[name + suffix];
      const std::vector<float>& mine = recorder.floats_.at({name, l});
      float largest = 1;
      for (float x : want.floats) largest = std::max(largest, std::fabs(x));
      for (size_t i = 0; i < at.size(); ++i) {
        expect_near(mine.data() + at[i] * want.width(), want.row(static_cast<int64_t>(i)),
                    want.width(), kTolerance * largest,
                    name + suffix + " at " + std::to_string(at[i]));
      }
    }
    if (layer.kind == LayerKind::swa) continue;
    const GoldenTensor entries = golden_["entries" + suffix];
    for (int64_t w = 0; w < entries.rows(); ++w) {
      expect_near(reinterpret_cast<const float*>(session.sequence().entry(l, static_cast<int>(w))),
                  entries.row(w), entries.width(), kTolerance, "entries" + suffix);
    }
    if (layer.kind != LayerKind::csa) continue;
    const GoldenTensor keys = golden_["index_keys" + suffix];
    for (int64_t w = 0; w < keys.rows(); ++w) {
      expect_near(
          reinterpret_cast<const float*>(session.sequence().index_key(l, static_cast<int>(w))),
          keys.row(w), keys.width(), kTolerance, "index_keys" + suffix);
    }
    const GoldenTensor picks = golden_["picks" + suffix];
    const std::vector<float> gap = golden_["pick_gap" + suffix].floats;
    for (size_t i = 0; i < at.size(); ++i) {
      if (gap[i] < kHonestGap) continue;
      std::vector<int32_t> want(picks.ints.begin() + static_cast<int64_t>(i) * picks.width(),
                                picks.ints.begin() + static_cast<int64_t>(i + 1) * picks.width());
      std::erase(want, -1);
      EXPECT_EQ(recorder.ints_.at({"picks", l})[static_cast<size_t>(at[i])], want)
          << "picks" << suffix << " at " << at[i];
    }
  }
}

TEST_P(Goldens, GreedyContinuations) {
  testing_support::expect_greedy_continuations(model_, golden_, options_);
}

// log of the softmax of one row.
std::vector<double> log_probabilities(const float* logits, int64_t n) {
  double most = logits[0];
  for (int64_t i = 1; i < n; ++i) most = std::max(most, static_cast<double>(logits[i]));
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(logits[i]) - most);
  std::vector<double> out(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    out[static_cast<size_t>(i)] = static_cast<double>(logits[i]) - most - std::log(sum);
  }
  return out;
}

struct Divergence {
  double mean = 0, median = 0;
};

// KL divergence of `mine` from `want`, over positions.
Divergence divergence(const float* mine, const GoldenTensor& want) {
  std::vector<double> all;
  for (int64_t t = 0; t < want.rows(); ++t) {
    const auto p = log_probabilities(want.row(t), want.width());
    const auto q = log_probabilities(mine + t * want.width(), want.width());
    double sum = 0;
    for (size_t i = 0; i < p.size(); ++i) sum += std::exp(p[i]) * (p[i] - q[i]);
    all.push_back(sum);
  }
  std::sort(all.begin(), all.end());
  Divergence out;
  for (double kld : all) out.mean += kld / static_cast<double>(all.size());
  out.median = all[all.size() / 2];
  return out;
}

// The share of the golden's picks that `recorder` has as well, over layers and positions.
double pick_overlap(const Golden& golden, const Recorder& recorder) {
  int64_t n_want = 0, n_both = 0;
  for (const std::string& name : golden.names_with_prefix("picks.")) {
    const GoldenTensor want = golden[name];
    const auto& mine = recorder.ints_.at({"picks", std::stoi(name.substr(6))});
    for (int64_t t = 0; t < want.rows(); ++t) {
      for (int64_t i = 0; i < want.width(); ++i) {
        const int32_t pick = want.ints[static_cast<size_t>(t * want.width() + i)];
        if (pick < 0) continue;
        const auto& row = mine[static_cast<size_t>(t)];
        ++n_want;
        n_both += std::binary_search(row.begin(), row.end(), pick);
      }
    }
  }
  return static_cast<double>(n_both) / static_cast<double>(n_want);
}

TEST_P(Goldens, NativeRows) {
  const std::string file =
      testing_support::golden_dir(std::get<0>(GetParam())) + "/native.safetensors";
  if (std::get<0>(GetParam()) == "v4-micro") GTEST_SKIP() << "no native golden";
  const bool reference_kernels = std::get<1>(GetParam()) == "ref";
  const Golden native(file);
  const GoldenTensor want = native["logits"];
  const std::vector<int32_t> ids = native["ids"].ints;
  options_.formats = PoolFormats::all(RowFormat::native);

  Recorder exact;
  const auto f32 = testing_support::all_logits(model_, ids, options_, &exact);
  const Divergence of_f32 = divergence(f32.data(), want);
  EXPECT_LE(of_f32.mean, 2e-3);
  EXPECT_LE(of_f32.median, 1e-6);
  EXPECT_GE(pick_overlap(native, exact), 0.99);

  options_.products = Products::bf16;
  Recorder rounded;
  const auto bf16 = testing_support::all_logits(model_, ids, options_, &rounded);
  const Divergence of_bf16 = divergence(bf16.data(), want);
  const Divergence of_reference = divergence(golden_["logits"].floats.data(), want);
  EXPECT_LE(of_bf16.median, 0.6 * of_reference.median);
  // Means hang on single positions of these chaotic nets. What runs by default is held to 0.8; the
  // plain sums of the reference set land at 0.57 and 0.84 and are held to 1.
  EXPECT_LE(of_bf16.mean, (reference_kernels ? 1.0 : 0.8) * of_reference.mean);
  EXPECT_GE(pick_overlap(native, rounded), 0.92);
  std::printf(
      "native rows: f32 products mean %.1e median %.1e overlap %.4f; bf16 products mean "
      "%.2f x, median %.2f x, overlap %.4f\n",
      of_f32.mean, of_f32.median, pick_overlap(native, exact), of_bf16.mean / of_reference.mean,
      of_bf16.median / of_reference.median, pick_overlap(native, rounded));
}

std::vector<std::string> kernel_names() {
  std::vector<std::string> names;
  for (const Kernels* set : available_kernels()) names.emplace_back(set->name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(
    All, Goldens,
    testing::Combine(testing::Values("v4-micro", "v4-flash-mini", "v4-pro-mini"),
                     testing::ValuesIn(kernel_names())),
    [](const auto& param) {
      std::string name = std::get<0>(param.param) + "_" + std::get<1>(param.param);
      std::replace_if(name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
      return name;
    });

TEST(BundledModel, LogitsAndGreedyContinuations) {
  const auto model =
      testing_support::load_or_fail(testing_support::data_dir() + "/../../models/varve-tiny");
  const Golden golden(testing_support::golden_dir("varve-tiny") + "/golden.safetensors");
  for (const std::string prompt : {"jargon", "scripture", "recall"}) {
    const std::vector<int32_t> ids = golden[prompt + ".ids"].ints;
    const GoldenTensor want = golden[prompt + ".logits"];
    const std::vector<float> mine = testing_support::all_logits(model, ids, {.n_threads = 2});
    float largest = 1;
    for (float x : want.floats) largest = std::max(largest, std::fabs(x));
    expect_near(mine.data(), want.floats.data(), static_cast<int64_t>(mine.size()),
                kTolerance * largest, prompt);

    const std::vector<int32_t> greedy = golden[prompt + ".greedy"].ints;
    const auto engine = testing_support::engine_or_fail(
        model, {.ctx_tokens = static_cast<int>(ids.size() + greedy.size()), .n_threads = 1});
    Session session = testing_support::session_or_fail(*engine);
    ASSERT_TRUE(session.append(ids));
    Sampler sampler = Sampler::create({.temperature = 0}, model->vocab_size()).value();
    std::vector<int32_t> continued;
    ASSERT_TRUE(generate(session, *engine, sampler,
                         {.max_tokens = static_cast<int>(greedy.size()), .ignore_eos = true},
                         [&](int32_t id) {
                           continued.push_back(id);
                           return true;
                         }));
    EXPECT_EQ(continued, greedy) << prompt;
  }
}

}  // namespace
}  // namespace varve
