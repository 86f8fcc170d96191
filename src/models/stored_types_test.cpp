// Models from their config alone hold what those with files hold.
#include "models/stored_types.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "models/model.h"

namespace varve {
namespace {

std::string model_dir(const std::string& name) {
  return std::string(VARVE_SOURCE_DIR) + "/tests/data/goldens/" + name;
}

class ShapesAlone : public testing::TestWithParam<const char*> {};

TEST_P(ShapesAlone, CostWhatTheLoadedModelCosts) {
  const std::string dir = model_dir(GetParam());
  const auto loaded = load_model(dir);
  const auto shapes = load_shapes(dir + "/config.json");
  ASSERT_TRUE(loaded) << loaded.error().message;
  ASSERT_TRUE(shapes) << shapes.error().message;
  EXPECT_EQ((*shapes)->decode_weight_bytes(), (*loaded)->decode_weight_bytes());
  EXPECT_EQ((*shapes)->decode_weight_macs(), (*loaded)->decode_weight_macs());
  EXPECT_EQ((*shapes)->vector_bytes(), (*loaded)->vector_bytes());
  // Files hold the small tensors too, and a header.
  EXPECT_LT((*shapes)->weight_bytes(), (*loaded)->weight_bytes());
  EXPECT_GT((*shapes)->weight_bytes() + (*shapes)->vector_bytes() + (size_t{256} << 10),
            (*loaded)->weight_bytes());
}

INSTANTIATE_TEST_SUITE_P(All, ShapesAlone,
                         testing::Values("v4-micro", "gqa-qwen3", "gqa-mistral-swa",
                                         "mla-deepseek-v2", "dsa-deepseek-v32"),
                         [](const auto& param) {
                           std::string name = param.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// What the checkpoints of these models hold, of parameters as published: 8.03, 7.62 and 8.19 e9 and
// 134.5 e6 of bf16; of DeepSeek-V3.2 671 e9 of FP8 with the indexer's 0.85 e9, of which embedding,
// head and routers (1.96 e9) are bf16, and an f32 scale for each 128 x 128 of the others.
TEST(ShapesOfPublishedModels, Weights) {
  const auto bytes_of = [](const char* name) {
    const auto model =
        load_shapes(std::string(VARVE_SOURCE_DIR) + "/models/configs/" + name + ".json");
    return model ? static_cast<double>((*model)->weight_bytes()) : 0.0;
  };
  EXPECT_NEAR(bytes_of("llama-3.1-8b"), 2 * 8.03e9, 2 * 0.01e9);
  EXPECT_NEAR(bytes_of("qwen2.5-7b"), 2 * 7.62e9, 2 * 0.01e9);
  EXPECT_NEAR(bytes_of("qwen3-8b"), 2 * 8.19e9, 2 * 0.01e9);
  EXPECT_NEAR(bytes_of("smollm2-135m"), 2 * 134.5e6, 2 * 0.05e6);
  EXPECT_NEAR(bytes_of("deepseek-v3.2"), 671.9e9 + 1.96e9 + 669.9e9 * 4 / (128 * 128), 0.1e9);
}

TEST(StoredTypes, OfAConfig) {
  const auto types = [](const std::string& text) {
    return stored_types(JsonObject::parse(text, "config.json").value());
  };
  EXPECT_EQ(types("{}")->of_matrix("x.weight"), DType::bf16);
  EXPECT_EQ(types(R"({"dtype":"float16"})")->of_matrix("x.weight"), DType::f16);
  const auto fp8 = types(R"({"torch_dtype":"bfloat16","quantization_config":{}})");
  EXPECT_EQ(fp8->of_matrix("model.layers.0.mlp.up_proj.weight"), DType::f8_e4m3);
  EXPECT_EQ(fp8->of_matrix("model.layers.3.mlp.gate.weight"), DType::bf16);
  EXPECT_EQ(fp8->of_matrix("lm_head.weight"), DType::bf16);
  const auto wrong = types(R"({"torch_dtype":"int4"})");
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("torch_dtype"), std::string::npos);
}

}  // namespace
}  // namespace varve
