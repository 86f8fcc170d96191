#include "models/mla/config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "kvcache/layout.h"

namespace varve::mla {
namespace {

// A small config of `model_type` with `more` fields in it.
std::string text_of(const std::string& model_type, const std::string& more) {
  return R"({"model_type": ")" + model_type + R"(", "vocab_size": 100,
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "max_position_embeddings": 1000, "kv_lora_rank": 32, "q_lora_rank": 24, "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8, "v_head_dim": 12, "n_routed_experts": 8, "n_shared_experts": 1,
    "num_experts_per_tok": 2, "moe_intermediate_size": 20, "first_k_dense_replace": 1,
    "index_n_heads": 4, "index_head_dim": 16, "index_topk": 8,
    "eos_token_id": 1)" +
         (more.empty() ? "" : ", " + more) + "}";
}

Result<Config> parse(const std::string& model_type, const std::string& more = "") {
  return parse_config(JsonObject::parse(text_of(model_type, more), "config.json").value());
}

TEST(MlaConfig, ARowIsTheLatentAndTheRotatedKey) {
  const auto config = parse("deepseek_v2");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->latent_dim(), 40);
  const CacheLayout layout(config->cache_shape(), {});
  EXPECT_EQ(layout.bytes_per_token(), 4 * 40 * 4);
  EXPECT_FALSE(layout.keeps_detail());
  EXPECT_FALSE(layout.has(Pool::index));
}

TEST(MlaConfig, V32KeepsAnIndexKeyBesideARow) {
  const auto config = parse("deepseek_v32", R"("n_group": 1, "topk_group": 1)");
  ASSERT_TRUE(config) << config.error().message;
  const CacheLayout layout(config->cache_shape(), {});
  EXPECT_EQ(layout.bytes_per_token(), 4 * (40 + 16) * 4);
  // Of the published size in 16 bits: spec 12.2, V3.2 bf16 MLA + bf16 index.
  CacheShape published{.layers = {}, .window = 0, .hidden_dim = 0};
  published.layers.assign(
      61, {.kind = LayerKind::dsa, .ratio = 1, .head_dim = 576, .rope_dim = 64, .index_dim = 128});
  EXPECT_EQ(CacheLayout(published, PoolFormats::all(RowFormat::bf16)).bytes_per_token(), 85888);
}

TEST(MlaConfig, RoutersOfTheGenerations) {
  const auto v2 = parse("deepseek_v2", R"("topk_method": "group_limited_greedy", "n_group": 4,
                                          "topk_group": 2, "routed_scaling_factor": 16)");
  ASSERT_TRUE(v2) << v2.error().message;
  EXPECT_FALSE(v2->router.sigmoid || v2->router.has_bias || v2->router.norm_weights);
  EXPECT_EQ(v2->router.best_of_group, 1);
  EXPECT_EQ(v2->router.scale, 16);
  const auto v3 = parse("deepseek_v3", R"("n_group": 4, "topk_group": 2)");
  ASSERT_TRUE(v3) << v3.error().message;
  EXPECT_TRUE(v3->router.sigmoid && v3->router.has_bias && v3->router.norm_weights);
  EXPECT_EQ(v3->router.best_of_group, 2);
}

TEST(MlaConfig, MissingFieldsAreDefaultsOrRefused) {
  const auto without = [](const std::string& model_type, const std::string& field) {
    nlohmann::json fields = nlohmann::json::parse(text_of(
        model_type, R"("topk_method": "greedy", "num_hidden_layers": 5, "eos_token_id": 7)"));
    fields.erase(field);
    return parse_config(JsonObject::parse(fields.dump(), "config.json").value());
  };
  EXPECT_EQ(without("deepseek_v3", "routed_scaling_factor")->router.scale, 2.5f);
  EXPECT_EQ(without("deepseek_v2", "routed_scaling_factor")->router.scale, 1);
  EXPECT_EQ(without("deepseek_v32", "first_k_dense_replace")->n_dense_layers, 3);
  EXPECT_EQ(without("deepseek_v2", "first_k_dense_replace")->n_dense_layers, 0);
  EXPECT_EQ(without("deepseek_v3", "eos_token_id")->eos_ids, std::vector{1});
  for (const char* const field :
       {"eos_token_id", "q_lora_rank", "n_routed_experts", "n_shared_experts"}) {
    const auto config = without("deepseek_v2", field);
    ASSERT_FALSE(config) << field;
    EXPECT_NE(config.error().message.find(field), std::string::npos) << config.error().message;
    const auto null = parse("deepseek_v2", fmt::format(R"("{}": null)", field));
    EXPECT_TRUE(null) << null.error().message;
  }
}

TEST(MlaConfig, DenseLayersHaveNoExperts) {
  const auto dense = parse("deepseek_v2", R"("first_k_dense_replace": 9)");
  ASSERT_TRUE(dense) << dense.error().message;
  EXPECT_EQ(dense->n_dense_layers, 4);
  EXPECT_EQ(dense->n_experts, 0);
  EXPECT_EQ(parse("deepseek_v2", R"("n_routed_experts": null)")->n_dense_layers, 4);
}

TEST(MlaConfig, YarnGoesIntoTheSoftmaxScale) {
  const auto plain = parse("deepseek_v2");
  const auto yarn = parse("deepseek_v2", R"("rope_scaling": {"type": "yarn", "factor": 40,
      "original_max_position_embeddings": 100, "mscale": 0.707, "mscale_all_dim": 0.707})");
  ASSERT_TRUE(yarn) << yarn.error().message;
  const double amplitude = 0.1 * 0.707 * std::log(40.0) + 1;
  EXPECT_NEAR(yarn->softmax_scale, plain->softmax_scale * amplitude * amplitude, 1e-6);
  float cos[4], sin[4];
  yarn->rope.angles(0, cos, sin);
  EXPECT_FLOAT_EQ(cos[0], 1);
  EXPECT_EQ(yarn->max_position, 4000);
}

TEST(MlaConfig, RefusesWhatItWouldHaveToIgnore) {
  for (const auto& [more, field] :
       {std::pair{R"("moe_layer_freq": 2)", "moe_layer_freq"},
        {R"("attention_bias": true)", "attention_bias"},
        {R"("rope_interleave": false)", "rope_interleave"},
        {R"("norm_topk_prob": true)", "norm_topk_prob"},
        {R"("topk_method": "group_limited_greedy", "n_group": 8, "topk_group": 1)",
         "topk_group"}}) {
    const auto config = parse("deepseek_v2", more);
    ASSERT_FALSE(config) << more;
    EXPECT_NE(config.error().message.find(field), std::string::npos) << config.error().message;
  }
}

}  // namespace
}  // namespace varve::mla
