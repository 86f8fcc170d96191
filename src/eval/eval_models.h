// Small models for the tests of this folder.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "models/model.h"

namespace varve {

inline std::shared_ptr<const Model> model_at(const std::string& path) {
  auto model = load_model(std::string(VARVE_SOURCE_DIR) + "/" + path);
  EXPECT_TRUE(model) << model.error().message;
  return std::move(*model);
}

inline std::shared_ptr<const Model> bundled_model() {
  return model_at("models/varve-tiny");
}

/// Keys and values without windows: all of the past lies in blocks.
inline std::shared_ptr<const Model> gqa_model() {
  return model_at("tests/data/goldens/gqa-llama3");
}

inline std::vector<int32_t> some_ids(int n) {
  std::vector<int32_t> out;
  for (int i = 0; i < n; ++i) out.push_back(3 + i * 37 % 90);
  return out;
}

}  // namespace varve
