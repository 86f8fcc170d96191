#include "models/llama/config.h"

#include <gtest/gtest.h>

#include <cmath>

namespace varve::llama {
namespace {

// The fields that all have to have, and `more`.
Result<Config> parse_short(const std::string& model_type, const std::string& more = "") {
  const std::string text = R"({"model_type": ")" + model_type + R"(", "vocab_size": 100,
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "max_position_embeddings": 1000)" +
                           (more.empty() ? "" : ", " + more) + "}";
  return parse_config(JsonObject::parse(text, "config.json").value());
}

// A small config with `more` fields in it.
Result<Config> parse(const std::string& model_type, const std::string& more = "") {
  return parse_short(model_type, R"("num_key_value_heads": null, "head_dim": null,
      "sliding_window": null, "eos_token_id": [3, 4])" +
                                     (more.empty() ? "" : ", " + more));
}

TEST(LlamaConfig, NullFieldsFollowFromOthers) {
  const auto config = parse("llama");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->n_kv_heads, 4);
  EXPECT_EQ(config->head_dim, 16);
  EXPECT_EQ(config->eos_ids, (std::vector{3, 4}));
  EXPECT_EQ(config->windows, (std::vector{0, 0, 0, 0}));
  EXPECT_FALSE(config->qkv_bias || config->output_bias || config->mlp_bias || config->qk_norm);
}

TEST(LlamaConfig, MissingFieldsAreWhatTransformersTakesThemFor) {
  const auto parsed = [](const std::string& type, const std::string& more) {
    const auto config = parse_short(type, R"("hidden_size": 128, "num_attention_heads": 32,
        "max_position_embeddings": 5000, "num_hidden_layers": 30)" +
                                              (more.empty() ? "" : ", " + more));
    EXPECT_TRUE(config) << config.error().message;
    return *config;
  };
  const Config llama = parsed("llama", "");
  EXPECT_EQ(llama.n_kv_heads, 32);
  EXPECT_EQ(llama.head_dim, 4);
  EXPECT_EQ(llama.windows, std::vector(30, 0));
  EXPECT_EQ(llama.eos_ids, std::vector{2});
  EXPECT_EQ(llama.bos_id, -1);
  const Config mistral = parsed("mistral", "");
  EXPECT_EQ(mistral.n_kv_heads, 8);
  EXPECT_EQ(mistral.windows, std::vector(30, 4096));
  EXPECT_EQ(mistral.eos_ids, std::vector{2});
  const Config qwen2 = parsed("qwen2", R"("num_attention_heads": 64)");
  EXPECT_EQ(qwen2.n_kv_heads, 32);
  EXPECT_EQ(qwen2.windows, std::vector(30, 0));
  EXPECT_TRUE(qwen2.eos_ids.empty());
  const Config qwen3 = parsed("qwen3", R"("use_sliding_window": true)");
  EXPECT_EQ(qwen3.head_dim, 128);
  EXPECT_EQ(qwen3.windows[27], 0);
  EXPECT_EQ(qwen3.windows[28], 4096);
  EXPECT_TRUE(parsed("llama", R"("eos_token_id": null)").eos_ids.empty());
}

TEST(LlamaConfig, FamiliesDifferInBiasesAndNorms) {
  EXPECT_TRUE(parse("qwen2")->qkv_bias);
  EXPECT_FALSE(parse("qwen2")->output_bias);
  EXPECT_TRUE(parse("qwen3")->qk_norm);
  EXPECT_FALSE(parse("qwen3")->qkv_bias);
  EXPECT_TRUE(parse("llama", R"("attention_bias": true)")->output_bias);
}

TEST(LlamaConfig, WindowsByLayer) {
  const auto windows = [](const std::string& type, const std::string& more) {
    const auto config = parse(type, more);
    EXPECT_TRUE(config) << config.error().message;
    return config->windows;
  };
  EXPECT_EQ(windows("mistral", R"("sliding_window": 48)"), (std::vector{48, 48, 48, 48}));
  EXPECT_EQ(windows("mistral", R"("sliding_window": null)"), (std::vector{0, 0, 0, 0}));
  EXPECT_EQ(windows("mistral", R"("sliding_window": 1000)"), (std::vector{0, 0, 0, 0}));
  EXPECT_EQ(windows("llama", R"("sliding_window": 48)"), (std::vector{0, 0, 0, 0}));
  // Qwen names a window that only use_sliding_window turns on.
  EXPECT_EQ(windows("qwen2", R"("sliding_window": 48)"), (std::vector{0, 0, 0, 0}));
  EXPECT_EQ(windows("qwen2", R"("sliding_window": 48, "use_sliding_window": true,
                                "max_window_layers": 3)"),
            (std::vector{0, 0, 0, 48}));
  EXPECT_EQ(windows("qwen3", R"("sliding_window": 48, "use_sliding_window": true, "layer_types":
      ["full_attention", "sliding_attention", "full_attention", "sliding_attention"])"),
            (std::vector{0, 48, 0, 48}));
}

TEST(LlamaConfig, RopeScalings) {
  const auto frequencies = [](const std::string& scaling) {
    const auto config = parse("llama", R"("rope_theta": 500000, "rope_scaling": )" + scaling);
    EXPECT_TRUE(config) << config.error().message;
    return config->rope.frequencies();
  };
  const std::vector<float> plain = frequencies(R"({"rope_type": "default"})");
  const std::vector<float> linear = frequencies(R"({"type": "linear", "factor": 4})");
  const std::vector<float> llama3 = frequencies(R"({"rope_type": "llama3", "factor": 8,
      "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 64})");
  ASSERT_EQ(plain.size(), 8u);
  for (size_t i = 0; i < plain.size(); ++i) {
    EXPECT_FLOAT_EQ(linear[i], plain[i] / 4);
    const double turns = 64 * static_cast<double>(plain[i]) / (2 * M_PI);
    if (turns >= 4) {
      EXPECT_EQ(llama3[i], plain[i]);
    } else if (turns <= 1) {
      EXPECT_FLOAT_EQ(llama3[i], plain[i] / 8);
    } else {
      EXPECT_LT(llama3[i], plain[i]);
      EXPECT_GT(llama3[i], plain[i] / 8);
    }
  }
  // YaRN stretches angles and multiplies cosines by 0.1 ln(factor) + 1.
  const auto yarn = parse("llama", R"("rope_scaling": {"rope_type": "yarn", "factor": 4})");
  ASSERT_TRUE(yarn) << yarn.error().message;
  float cos[8], sin[8];
  yarn->rope.angles(0, cos, sin);
  EXPECT_FLOAT_EQ(cos[0], static_cast<float>(0.1 * std::log(4.0) + 1));
}

TEST(LlamaConfig, YarnMakesTheContextLonger) {
  const auto max_position = [](const std::string& yarn) {
    const auto config = parse("qwen2", R"("rope_scaling": {"type": "yarn", )" + yarn + "}");
    EXPECT_TRUE(config) << config.error().message;
    return config->max_position;
  };
  EXPECT_EQ(max_position(R"("factor": 4, "original_max_position_embeddings": 1000)"), 4000);
  EXPECT_EQ(max_position(R"("factor": 4)"), 4000);
  EXPECT_EQ(max_position(R"("factor": 4, "original_max_position_embeddings": 100)"), 1000);
  EXPECT_EQ(max_position(R"("factor": 1e6, "original_max_position_embeddings": 1000000)"), 1 << 30);
  // A window that the stretched context leaves hides something.
  const auto config = parse("mistral", R"("sliding_window": 2000,
      "rope_scaling": {"type": "yarn", "factor": 4})");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->windows[0], 2000);
}

TEST(LlamaConfig, RefusesWhatItWouldHaveToIgnore) {
  for (const auto& [more, field] :
       {std::pair{R"("hidden_act": "gelu")", "hidden_act"},
        {R"("rope_scaling": {"rope_type": "dynamic", "factor": 2})", "rope_scaling.rope_type"},
        {R"("partial_rotary_factor": 0.5)", "partial_rotary_factor"},
        {R"("rope_parameters": {"partial_rotary_factor": 0.5})", "rope_parameters.partial_rotary"},
        {R"("num_key_value_heads": 3)", "num_key_value_heads"},
        {R"("quantization_config": {"quant_method": "gptq"})",
         "quantization_config.quant_method"}}) {
    const auto config = parse("llama", more);
    ASSERT_FALSE(config) << more;
    EXPECT_NE(config.error().message.find(field), std::string::npos) << config.error().message;
  }
  EXPECT_FALSE(parse("gpt2"));
}

}  // namespace
}  // namespace varve::llama
