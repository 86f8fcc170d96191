#include <gtest/gtest.h>

#include "base/mapped_file.h"
#include "models/deepseek_v4/test_config.h"

namespace varve::deepseek_v4 {
namespace {

json published(const std::string& name) {
  const std::string path = std::string(VARVE_SOURCE_DIR) + "/models/configs/" + name + ".json";
  return json::parse(read_text_file(path, 1 << 20).value());
}

Config parsed(const json& config) {
  auto result = parse(config.dump(), "config.json");
  EXPECT_TRUE(result) << result.error().message;
  return result ? *result : Config{};
}

std::string text_of(const RopeConfig& rope) {
  return fmt::format("{} x{} {} {} {}", rope.theta, rope.yarn.factor, rope.yarn.beta_fast,
                     rope.yarn.beta_slow, rope.yarn.original_max_position);
}

// Every field, so that two configurations can be compared.
std::string text_of(const Config& c) {
  std::string out = fmt::format(
      "vocab {} d {} layers {} heads {} c {} rope {} q {} o {} {} index {} {} {} window {} ",
      c.vocab_size, c.hidden_size, c.n_layers, c.n_heads, c.head_dim, c.rope_dim, c.q_lora_rank,
      c.o_groups, c.o_lora_rank, c.index_n_heads, c.index_head_dim, c.index_topk, c.window);
  out += fmt::format("experts {} {} {} {} {} {} {} hc {} {} {} rms {} max {} tied {} block {} {} ",
                     c.n_experts, c.n_experts_used, c.n_shared_experts, c.moe_dim, c.norm_topk_prob,
                     c.route_scale, c.swiglu_limit, c.hc_mult, c.hc_iters, c.hc_eps, c.rms_eps,
                     c.max_position, c.tied_head, c.fp8_block_rows, c.fp8_block_cols);
  out += fmt::format("bos {} eos {} ropes {} | {} layers", c.bos_id, fmt::join(c.eos_ids, ","),
                     text_of(c.window_rope), text_of(c.compress_rope));
  for (const LayerConfig& layer : c.layers) {
    out += fmt::format(" {}/{}{}", layer_kind_name(layer.attention), layer.ratio,
                       layer.hash_routed ? "#" : "");
  }
  return out;
}

TEST(DeepseekV4Config, Flash) {
  const Config c = parsed(published("deepseek-v4-flash"));
  EXPECT_EQ(c.hidden_size, 4096);
  EXPECT_EQ(c.n_layers, 43);
  EXPECT_EQ(c.n_heads, 64);
  EXPECT_EQ(c.head_dim, 512);
  EXPECT_EQ(c.rope_dim, 64);
  EXPECT_EQ(c.o_groups, 8);
  EXPECT_EQ(c.index_topk, 512);
  EXPECT_EQ(c.n_experts, 256);
  EXPECT_EQ(c.n_experts_used, 6);
  EXPECT_EQ(c.moe_dim, 2048);
  EXPECT_EQ(c.route_scale, 1.5f);
  EXPECT_EQ(c.swiglu_limit, 10.0f);
  EXPECT_EQ(c.hc_iters, 20);
  EXPECT_EQ(c.window_rope.theta, 10000);
  EXPECT_EQ(c.window_rope.yarn.factor, 1);
  EXPECT_EQ(c.compress_rope.theta, 160000);
  EXPECT_EQ(c.compress_rope.yarn.factor, 16);
  EXPECT_EQ(c.max_position, 1048576);
  EXPECT_EQ(c.bos_id, 0);
  EXPECT_EQ(c.eos_ids, std::vector<int>{1});
  ASSERT_EQ(c.layers.size(), 43u);
  // Layers 0 and 1 SWA, then CSA at even and HCA at odd ones; 0 to 2 routed by token id.
  for (size_t i = 0; i < 43; ++i) {
    const LayerKind kind = i < 2 ? LayerKind::swa : i % 2 == 0 ? LayerKind::csa : LayerKind::hca;
    EXPECT_EQ(c.layers[i].attention, kind) << i;
    EXPECT_EQ(c.layers[i].hash_routed, i < 3) << i;
  }
}

TEST(DeepseekV4Config, Pro) {
  const Config c = parsed(published("deepseek-v4-pro"));
  EXPECT_EQ(c.hidden_size, 7168);
  EXPECT_EQ(c.n_heads, 128);
  EXPECT_EQ(c.o_groups, 16);
  EXPECT_EQ(c.n_experts, 384);
  EXPECT_EQ(c.route_scale, 2.5f);
  ASSERT_EQ(c.layers.size(), 61u);
  int n_csa = 0;
  for (const LayerConfig& layer : c.layers) n_csa += layer.attention == LayerKind::csa;
  EXPECT_EQ(n_csa, 30);
  EXPECT_EQ(c.layers[0].attention, LayerKind::hca);
  EXPECT_EQ(c.layers[60].ratio, 4);
}

TEST(DeepseekV4Config, OtherModelsAreRefused) {
  for (const char* const name :
       {"deepseek-v3.2", "llama-3.1-8b", "qwen2.5-7b", "qwen3-8b", "smollm2-135m"}) {
    auto result = parse(published(name).dump(), name);
    ASSERT_FALSE(result) << name;
    EXPECT_NE(result.error().message.find("field `model_type`: expected one that runs"),
              std::string::npos)
        << result.error().message;
  }
}

TEST(DeepseekV4Config, CacheShape) {
  const CacheShape shape = parsed(small()).cache_shape();
  EXPECT_EQ(shape.window, 128);
  ASSERT_EQ(shape.layers.size(), 5u);
  EXPECT_EQ(shape.layers[0].kind, LayerKind::swa);
  EXPECT_EQ(shape.layers[0].ratio, 0);
  EXPECT_EQ(shape.layers[1].entries_per_block(), 32);
  EXPECT_EQ(shape.layers[1].index_dim, 128);
  EXPECT_EQ(shape.layers[2].entries_per_block(), 1);
  EXPECT_EQ(shape.layers[2].index_dim, 0);
  EXPECT_EQ(shape.layers[4].head_dim, 192);
  EXPECT_EQ(shape.layers[4].rope_dim, 64);
}

TEST(DeepseekV4Config, EverySpellingIsTheOfficialOne) {
  const std::string official = text_of(parsed(small()));
  const std::pair<const char*, Change> spellings[] = {
      {"no MTP tail", [](json& c) { c["compress_ratios"] = {0, 4, 128, 4, 128}; }},
      {"DSpark tail", [](json& c) { c["compress_ratios"] = {0, 4, 128, 4, 128, 0, 0, 0}; }},
      {"long MTP tail",
       [](json& c) {
         c["num_nextn_predict_layers"] = 5;
         c["compress_ratios"] = {0, 4, 128, 4, 128, 0, 0, 0, 0, 0};
       }},
      {"layer_types", use_layer_types},
      {"layer_types with rates",
       [](json& c) {
         use_layer_types(c);
         c["compress_rates"] = {{"compressed_sparse_attention", 4},
                                {"heavily_compressed_attention", 128}};
       }},
      {"layer_types with scalar rates",
       [](json& c) {
         use_layer_types(c);
         c["compress_rate_csa"] = 4;
         c["compress_rate_hca"] = 128;
       }},
      {"both",
       [](json& c) {
         const json ratios = c["compress_ratios"];
         use_layer_types(c);
         c["compress_ratios"] = ratios;
       }},
      {"layer_types with a tail",
       [](json& c) {
         use_layer_types(c);
         c["layer_types"].push_back("sliding_attention");
       }},
      {"rope_type for type",
       [](json& c) {
         c["rope_scaling"]["rope_type"] = "yarn";
         c["rope_scaling"].erase("type");
       }},
      {"nested rope_parameters", use_nested_ropes},
      {"nested rope_parameters, rope dims inside",
       [](json& c) {
         use_nested_ropes(c);
         c.erase("qk_rope_head_dim");
       }},
      {"flat rope_parameters, theta at the top",
       [](json& c) {
         c["rope_parameters"] = c["rope_scaling"];
         c.erase("rope_scaling");
       }},
      {"flat rope_parameters, theta inside",
       [](json& c) {
         c["rope_parameters"] = c["rope_scaling"];
         c["rope_parameters"]["rope_theta"] = c["rope_theta"];
         c.erase("rope_scaling");
         c.erase("rope_theta");
       }},
      {"rope_scaling and rope_parameters alike",
       [](json& c) { c["rope_parameters"] = c["rope_scaling"]; }},
      {"compress_rope_parameters",
       [](json& c) {
         json yarn = c["rope_scaling"];
         c["rope_parameters"] = yarn;
         c["rope_parameters"]["rope_theta"] = 10000.0;
         c["compress_rope_parameters"] = yarn;
         c["compress_rope_parameters"]["rope_theta"] = 160000.0;
         c.erase("rope_scaling");
         c.erase("rope_theta");
         c.erase("compress_rope_theta");
       }},
      {"compress_rope_parameters beside a plain RoPE",
       [](json& c) {
         c["compress_rope_parameters"] = c["rope_scaling"];
         c["compress_rope_parameters"]["rope_theta"] = 160000.0;
         c["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 10000}};
         c.erase("rope_scaling");
         c.erase("compress_rope_theta");
       }},
      {"rope_theta left to its default", [](json& c) { c.erase("rope_theta"); }},
      {"betas left to their defaults",
       [](json& c) {
         c["rope_scaling"].erase("beta_fast");
         c["rope_scaling"].erase("beta_slow");
       }},
      {"partial_rotary_factor",
       [](json& c) {
         c.erase("qk_rope_head_dim");
         c["partial_rotary_factor"] = 0.3333333333333333;
       }},
      {"mlp_layer_types",
       [](json& c) {
         c.erase("num_hash_layers");
         c["mlp_layer_types"] = {"hash_moe", "hash_moe", "moe", "moe", "moe"};
       }},
      {"num_local_experts",
       [](json& c) {
         c["num_local_experts"] = c["n_routed_experts"];
         c.erase("n_routed_experts");
       }},
      {"both names of the experts", [](json& c) { c["num_local_experts"] = 6; }},
      {"eos as a list", [](json& c) { c["eos_token_id"] = {1}; }},
      {"integers as floats", [](json& c) { c["hidden_size"] = 256.0; }},
      {"nulls",
       [](json& c) {
         c["n_group"] = nullptr;
         c["topk_group"] = nullptr;
         c["mlp_layer_types"] = nullptr;
         c["rope_parameters"] = nullptr;
         c["partial_rotary_factor"] = nullptr;
         c["layer_types"] = nullptr;
       }},
      {"what may be left out",
       [](json& c) {
         for (const char* const key :
              {"num_key_value_heads", "scoring_func", "topk_method", "norm_topk_prob", "hidden_act",
               "hc_eps", "rms_norm_eps", "tie_word_embeddings", "attention_bias",
               "num_nextn_predict_layers", "quantization_config"}) {
           c.erase(key);
         }
         c["mlp_bias"] = false;
         c["n_group"] = 1;
       }},
      {"inference/config.json", [](json& c) { c = inference_spelling(c); }},
  };
  for (const auto& [name, change] : spellings) {
    json c = small();
    change(c);
    EXPECT_EQ(text_of(parsed(c)), official) << name;
  }
  EXPECT_EQ(text_of(parsed(inference_spelling(published("deepseek-v4-flash")))),
            text_of(parsed(published("deepseek-v4-flash"))));
}

TEST(DeepseekV4Config, ValuesThatMayDiffer) {
  const auto with = [](const Change& change) {
    json c = small();
    change(c);
    return parsed(c);
  };
  const auto layers = [](const Config& c) {
    const std::string text = text_of(c);
    return text.substr(text.rfind("layers") + 7);
  };
  // Three hash layers by default, as published code has it.
  EXPECT_EQ(layers(with([](json& c) { c.erase("num_hash_layers"); })),
            "SWA/0# CSA/4# HCA/128# CSA/4 HCA/128");
  EXPECT_EQ(layers(with([](json& c) { c["num_hash_layers"] = 9; })),
            "SWA/0# CSA/4# HCA/128# CSA/4# HCA/128#");
  // Ratios other than 4 are HCA, unless the rates say otherwise.
  EXPECT_EQ(layers(with([](json& c) { c["compress_ratios"] = {1, 8, 128, 4, 0}; })),
            "HCA/1# HCA/8# HCA/128 CSA/4 SWA/0");
  EXPECT_EQ(layers(with([](json& c) {
              c["compress_ratios"] = {8, 4, 128, 64, 0};
              c["compress_rate_csa"] = 8;
              c["compress_rates"] = {{"heavily_compressed_attention", 4}};
            })),
            "CSA/8# HCA/4# HCA/128 HCA/64 SWA/0");
  EXPECT_EQ(layers(with([](json& c) {
              use_layer_types(c);
              c["compress_rates"] = {{"compressed_sparse_attention", 2},
                                     {"heavily_compressed_attention", 32}};
            })),
            "SWA/0# CSA/2# HCA/32 CSA/2 HCA/32");
  EXPECT_EQ(layers(with([](json& c) {
              c.erase("num_hash_layers");
              c["mlp_layer_types"] = {"moe", "hash_moe", "moe", "moe", "hash_moe"};
            })),
            "SWA/0 CSA/4# HCA/128 CSA/4 HCA/128#");

  EXPECT_EQ(with([](json& c) { c["eos_token_id"] = {1, 7}; }).eos_ids, (std::vector<int>{1, 7}));
  EXPECT_TRUE(with([](json& c) { c["eos_token_id"] = nullptr; }).eos_ids.empty());
  EXPECT_EQ(with([](json& c) { c["bos_token_id"] = nullptr; }).bos_id, -1);
  EXPECT_TRUE(with([](json& c) { c["tie_word_embeddings"] = true; }).tied_head);
  EXPECT_EQ(with([](json& c) {
              c["quantization_config"]["weight_block_size"] = {32, 64};
            }).fp8_block_cols,
            64);
  EXPECT_EQ(with([](json& c) { c["rope_scaling"] = nullptr; }).compress_rope.yarn.factor, 1);
  EXPECT_EQ(with([](json& c) { c["rope_scaling"] = {{"type", "default"}}; }).compress_rope.theta,
            160000);
  EXPECT_EQ(with([](json& c) { c.erase("max_position_embeddings"); }).max_position, 1048576);
  EXPECT_EQ(with([](json& c) { c["n_shared_experts"] = 0; }).n_shared_experts, 0);
  // Without CSA layers there is no indexer; without compression no second RoPE.
  const Config hca = with([](json& c) {
    c["compress_ratios"] = {128, 0, 128, 0, 128};
    for (const char* key : {"index_n_heads", "index_head_dim", "index_topk"}) c.erase(key);
  });
  EXPECT_EQ(hca.index_n_heads, 0);
  EXPECT_EQ(layers(with([](json& c) {
              c["compress_ratios"] = {0, 0, 0, 0, 0};
              c.erase("compress_rope_theta");
              c.erase("rope_scaling");
            })),
            "SWA/0# SWA/0# SWA/0 SWA/0 SWA/0");
}

}  // namespace
}  // namespace varve::deepseek_v4
