// What the tests against goldens have in common.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "support/golden.h"

namespace varve::testing_support {

/// Keeps whole intermediates by (name, layer).
class Recorder : public Probe {
 public:
  void floats(std::string_view name, int layer, const float* rows, int n, int width) override {
    auto& kept = floats_[{std::string(name), layer}];
    kept.insert(kept.end(), rows, rows + static_cast<size_t>(n) * static_cast<size_t>(width));
  }
  void ints(std::string_view name, int layer, const int32_t* rows, int n, int width) override {
    for (int i = 0; i < n; ++i) {
      ints_[{std::string(name), layer}].emplace_back(rows + i * width, rows + (i + 1) * width);
    }
  }
  std::map<std::pair<std::string, int>, std::vector<float>> floats_;
  std::map<std::pair<std::string, int>, std::vector<std::vector<int32_t>>> ints_;
};

/// Fails where a value of `mine` is further than `tolerance` from `want`; says where the worst is.
void expect_near(const float* mine, const float* want, int64_t n, float tolerance,
                 const std::string& what);

/// Each "greedy.N" of the golden is what follows the first N of its ids, those that are `padding`
/// left out: an oracle that takes an id for padding neither sees nor counts it in a prompt. Where
/// layers have windows it counts it there: such prompts are left out altogether.
void expect_greedy_continuations(const std::shared_ptr<const Model>& model, const Golden& golden,
                                 EngineOptions options, int32_t padding = -1);

}  // namespace varve::testing_support
