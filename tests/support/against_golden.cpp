#include "support/against_golden.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/generate.h"
#include "support/reference_run.h"

namespace varve::testing_support {

void expect_near(const float* mine, const float* want, int64_t n, float tolerance,
                 const std::string& what) {
  int64_t worst = 0;
  float most = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float difference = std::fabs(mine[i] - want[i]);
    if (!(difference <= most)) {
      most = difference;
      worst = i;
    }
  }
  EXPECT_LE(most, tolerance) << what << ": worst at " << worst << ", " << mine[worst] << " for "
                             << want[worst];
}

void expect_greedy_continuations(const std::shared_ptr<const Model>& model, const Golden& golden,
                                 EngineOptions options, int32_t padding) {
  const std::vector<int32_t> ids = golden["ids"].ints;
  const auto names = golden.names_with_prefix("greedy.");
  ASSERT_FALSE(names.empty());
  const CacheShape shape = model->cache_shape();
  const bool has_windows = std::any_of(shape.layers.begin(), shape.layers.end(),
                                       [](const LayerShape& layer) { return layer.window > 0; });
  for (const std::string& name : names) {
    const int n = std::stoi(name.substr(7));
    const std::vector<int32_t> want = golden[name].ints;
    options.ctx_tokens = n + static_cast<int>(want.size());
    const auto engine = engine_or_fail(model, options);
    Session session = session_or_fail(*engine);
    std::vector<int32_t> prompt(ids.begin(), ids.begin() + n);
    const bool padded = std::erase(prompt, padding) > 0;
    if (padded && has_windows) continue;
    ASSERT_TRUE(session.append(prompt));
    Sampler sampler = Sampler::create({.temperature = 0}, model->vocab_size()).value();
    std::vector<int32_t> mine;
    const auto done = generate(session, *engine, sampler,
                               {.max_tokens = static_cast<int>(want.size()), .ignore_eos = true},
                               [&](int32_t id) {
                                 mine.push_back(id);
                                 return true;
                               });
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_EQ(mine, want) << name;
  }
}

}  // namespace varve::testing_support
