#include "models/deepseek_v4/config.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/mapped_file.h"

namespace varve::deepseek_v4 {
namespace {

using nlohmann::json;
using Change = std::function<void(json&)>;

json published(const std::string& name) {
  const std::string path = std::string(VARVE_SOURCE_DIR) + "/models/configs/" + name + ".json";
  return json::parse(read_text_file(path, 1 << 20).value());
}

// A small model: SWA, CSA, HCA, CSA, HCA.
json small() {
  return json::parse(R"({
    "model_type": "deepseek_v4", "vocab_size": 384, "hidden_size": 256, "num_hidden_layers": 5,
    "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 192, "qk_rope_head_dim": 64,
    "q_lora_rank": 128, "o_groups": 2, "o_lora_rank": 128, "index_n_heads": 16,
    "index_head_dim": 128, "index_topk": 16, "sliding_window": 128, "n_routed_experts": 6,
    "num_experts_per_tok": 3, "n_shared_experts": 1, "moe_intermediate_size": 128,
    "num_hash_layers": 2, "scoring_func": "sqrtsoftplus", "topk_method": "noaux_tc",
    "norm_topk_prob": true, "routed_scaling_factor": 1.5, "swiglu_limit": 10.0,
    "hidden_act": "silu", "hc_mult": 4, "hc_sinkhorn_iters": 20, "hc_eps": 1e-06,
    "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "compress_rope_theta": 160000.0,
    "rope_scaling": {"type": "yarn", "factor": 16.0, "beta_fast": 32.0, "beta_slow": 1.0,
      "original_max_position_embeddings": 65536},
    "max_position_embeddings": 1048576, "num_nextn_predict_layers": 1,
    "tie_word_embeddings": false, "bos_token_id": 0, "eos_token_id": 1, "attention_bias": false,
    "compress_ratios": [0, 4, 128, 4, 128, 0],
    "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "scale_fmt": "ue8m0",
      "weight_block_size": [128, 128]}})");
}

Result<Config> parse(const std::string& text, const std::string& file) {
  VARVE_TRY(const JsonObject root, JsonObject::parse(text, file));
  return parse_config(root);
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
  for (const char* const name : {"deepseek-v3.2", "llama-3.1-8b", "qwen2.5-7b", "qwen3-8b"}) {
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

void use_layer_types(json& c) {
  c.erase("compress_ratios");
  c["layer_types"] = {"sliding_attention", "compressed_sparse_attention",
                      "heavily_compressed_attention", "compressed_sparse_attention",
                      "heavily_compressed_attention"};
}

void use_nested_ropes(json& c) {
  json yarn = c["rope_scaling"];
  yarn["rope_type"] = yarn["type"];
  yarn.erase("type");
  yarn["rope_theta"] = c["compress_rope_theta"];
  yarn["partial_rotary_factor"] = 64.0 / 192;
  yarn["attention_factor"] = 1.0;
  c["rope_parameters"] = {{"main", {{"rope_type", "default"}, {"rope_theta", 10000.0}}},
                          {"compress", yarn}};
  c.erase("rope_scaling");
  c.erase("rope_theta");
  c.erase("compress_rope_theta");
}

// The names of inference/config.json.
json inference_spelling(json c) {
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"hidden_size", "dim"},
           {"num_hidden_layers", "n_layers"},
           {"num_attention_heads", "n_heads"},
           {"moe_intermediate_size", "moe_inter_dim"},
           {"num_hash_layers", "n_hash_layers"},
           {"num_experts_per_tok", "n_activated_experts"},
           {"scoring_func", "score_func"},
           {"routed_scaling_factor", "route_scale"},
           {"qk_rope_head_dim", "rope_head_dim"},
           {"sliding_window", "window_size"},
           {"rms_norm_eps", "norm_eps"},
           {"num_nextn_predict_layers", "n_mtp_layers"}}) {
    c[to] = c.at(from);
    c.erase(from);
  }
  for (const char* const gone :
       {"model_type", "rope_scaling", "max_position_embeddings", "quantization_config",
        "topk_method", "hidden_act", "num_key_value_heads", "norm_eps", "attention_bias"}) {
    c.erase(gone);
  }
  c["original_seq_len"] = 65536;
  c["rope_factor"] = 16;
  c["beta_fast"] = 32;
  c["beta_slow"] = 1;
  return c;
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

struct Bad {
  Change change;
  const char* fragment;
};

// A change of one field to a value that is given as JSON text.
Change set(const char* key, const char* value) {
  return [key, value](json& c) { c[key] = json::parse(value); };
}
Change drop(const char* key) {
  return [key](json& c) { c.erase(key); };
}
Change set_in(const char* object, const char* key, const char* value) {
  return [=](json& c) { c[object][key] = json::parse(value); };
}

TEST(DeepseekV4Config, EveryFlawIsASentence) {
  const Bad cases[] = {
      {set("model_type", "\"llama\""), "expected one that runs (deepseek_v4), found \"llama\""},
      {drop("model_type"), "`model_type`: expected one that runs (deepseek_v4), it is missing"},
      {drop("vocab_size"), "`vocab_size`: expected an integer from 1 to 16777216, it is missing"},
      {set("vocab_size", "0"), "found 0"},
      {set("hidden_size", "\"x\""), "`hidden_size`: expected an integer from 1 to 1048576"},
      {set("hidden_size", "1e300"), "`hidden_size`"},
      {set("hidden_size", "255.5"), "found 255.5"},
      {set("num_hidden_layers", "4097"), "`num_hidden_layers`"},
      {set("num_hidden_layers", "-1"), "`num_hidden_layers`"},
      {set("num_attention_heads", "0"), "`num_attention_heads`"},
      {set("num_key_value_heads", "4"), "`num_key_value_heads`: expected an integer from 1 to 1"},
      {set("head_dim", "null"), "`head_dim`: expected an integer from 1 to 65536, it is missing"},
      {set("q_lora_rank", "[]"), "`q_lora_rank`"},
      {set("o_groups", "3"), "`o_groups`: expected a divisor of the 4 attention heads, found 3"},
      {set("o_lora_rank", "0"), "`o_lora_rank`"},
      {set("sliding_window", "0"), "`sliding_window`"},
      {set("sliding_window", "1048577"), "`sliding_window`"},
      {set("attention_bias", "true"), "`attention_bias`: expected false, found true"},
      {set("mlp_bias", "true"), "`mlp_bias`: expected false, found true"},
      {set("num_nextn_predict_layers", "-1"), "`num_nextn_predict_layers`"},
      // RoPE dims
      {set("qk_rope_head_dim", "63"), "`qk_rope_head_dim`: expected an even number"},
      {set("qk_rope_head_dim", "194"), "expected an integer from 2 to 192, found 194"},
      {drop("qk_rope_head_dim"), "expected it or `partial_rotary_factor`, it is missing"},
      {set("partial_rotary_factor", "0.5"), "expected 64 / 192 as in `qk_rope_head_dim`"},
      {[](json& c) {
         c.erase("qk_rope_head_dim");
         c["partial_rotary_factor"] = 0.3;
       },
       "`partial_rotary_factor`: expected a whole number of the 192 head dims, found 0.3"},
      {set("partial_rotary_factor", "0"), "`partial_rotary_factor`: expected a number above 0"},
      {set("index_head_dim", "32"), "`index_head_dim`: expected at least the 64 RoPE dims"},
      // layers
      {drop("compress_ratios"), "expected field `compress_ratios` or field `layer_types`"},
      {set("compress_ratios", "[0,4,128,4]"), "one ratio for each of the 5 layers"},
      {set("compress_ratios", "[0,4,128,4,128,0,0,0,0]"), "found an array of 9"},
      {set("compress_ratios", "[0,4,128,4,128,4]"),
       "`compress_ratios[5]`: expected 0 behind the last of 5 layers, found 4"},
      {set("compress_ratios", "[0,4,7,4,128]"),
       "`compress_ratios[2]`: layer 2: expected a ratio that runs (0 for none, or 1, 2, 4, 8, 16, "
       "32, 64, 128), found 7"},
      {set("compress_ratios", "[0,4,-4,4,128]"), "layer 2"},
      {set("compress_ratios", "[0,4,256,4,128]"), "layer 2"},
      {set("compress_ratios", "[0,4,\"x\",4,128]"), "`compress_ratios[2]`"},
      {set("compress_ratios", "4"), "`compress_ratios`: expected an array of integers, found 4"},
      {set("layer_types", "[\"full_attention\",\"a\",\"b\",\"c\",\"d\"]"),
       "`layer_types[0]`: layer 0: expected sliding_attention, compressed_sparse_attention or "
       "heavily_compressed_attention, found \"full_attention\""},
      {set("layer_types", "[\"sliding_attention\"]"), "one type for each of the 5 layers"},
      {[](json& c) {
         use_layer_types(c);
         c["layer_types"].push_back("heavily_compressed_attention");
       },
       "`layer_types[5]`: expected sliding_attention behind the last of 5 layers"},
      {[](json& c) {
         use_layer_types(c);
         c["compress_ratios"] = {0, 4, 4, 4, 128};
       },
       "`compress_ratios[2]`: layer 2: expected 128 as in `layer_types` and `compress_rates`"},
      {[](json& c) {
         use_layer_types(c);
         c["compress_rates"] = {{"compressed_sparse_attention", 7}};
       },
       "`compress_rates.compressed_sparse_attention`: expected a divisor of 128, found 7"},
      {[](json& c) {
         use_layer_types(c);
         c["compress_rates"] = {{"compressed_sparse_attention", 4}};
         c["compress_rate_csa"] = 8;
       },
       "`compress_rate_csa`: expected 4 as in `compress_rates`, found 8"},
      {set("compress_rates", "[4,128]"), "`compress_rates`: expected an object"},
      {[](json& c) { c["compress_rate_csa"] = c["compress_rate_hca"] = 4; },
       "expected different rates for CSA and HCA"},
      {drop("index_n_heads"), "`index_n_heads`"},
      {set("index_topk", "0"), "`index_topk`"},
      // experts
      {drop("n_routed_experts"), "`n_routed_experts`"},
      {set("num_local_experts", "8"), "`num_local_experts`: expected 6 as in `n_routed_experts`"},
      {set("num_experts_per_tok", "7"), "`num_experts_per_tok`: expected an integer from 1 to 6"},
      {set("n_shared_experts", "-1"), "`n_shared_experts`"},
      {set("moe_intermediate_size", "0"), "`moe_intermediate_size`"},
      {set("scoring_func", "\"sigmoid\""), "expected \"sqrtsoftplus\", found \"sigmoid\""},
      {set("topk_method", "\"greedy\""), "`topk_method`: expected \"noaux_tc\""},
      {set("hidden_act", "\"gelu\""), "`hidden_act`: expected \"silu\""},
      {set("n_group", "8"), "`n_group`"},
      {set("topk_group", "4"), "`topk_group`"},
      {set("norm_topk_prob", "1"), "`norm_topk_prob`: expected true or false"},
      {drop("routed_scaling_factor"), "`routed_scaling_factor`"},
      {set("routed_scaling_factor", "0"), "`routed_scaling_factor`: expected a number above 0"},
      {drop("swiglu_limit"), "`swiglu_limit`"},
      {set("swiglu_limit", "-1"), "`swiglu_limit`"},
      {set("num_hash_layers", "-1"), "`num_hash_layers`"},
      {set("mlp_layer_types", "[\"hash_moe\",\"moe\",\"moe\",\"moe\",\"moe\"]"),
       "`mlp_layer_types[1]`: layer 1: expected hash_moe as in `num_hash_layers`, found \"moe\""},
      {set("mlp_layer_types", "[\"dense\",\"moe\",\"moe\",\"moe\",\"moe\"]"),
       "expected hash_moe or moe, found \"dense\""},
      {set("mlp_layer_types", "[\"hash_moe\"]"), "one type for each of the 5 layers"},
      // streams and epsilons
      {set("hc_mult", "65"), "`hc_mult`"},
      {set("hc_sinkhorn_iters", "0"), "`hc_sinkhorn_iters`"},
      {set("hc_sinkhorn_iters", "1001"), "`hc_sinkhorn_iters`"},
      {set("hc_eps", "0"), "`hc_eps`"},
      {set("hc_eps", "1e-60"), "`hc_eps`"},
      {set("rms_norm_eps", "-1e-6"), "`rms_norm_eps`"},
      // RoPE
      {set("rope_theta", "0"), "`rope_theta`: expected a number above 1"},
      {set("rope_theta", "1"), "`rope_theta`"},
      {drop("compress_rope_theta"), "`compress_rope_theta`"},
      {set("rope_scaling", "7"), "`rope_scaling`: expected an object"},
      {set_in("rope_scaling", "type", "\"llama3\""),
       "`rope_scaling.type`: expected a RoPE that runs (default, yarn), found \"llama3\""},
      {[](json& c) { c["rope_scaling"].erase("type"); },
       "`rope_scaling.rope_type`: expected default or yarn, it is missing"},
      {set_in("rope_scaling", "factor", "0.5"), "`rope_scaling.factor`"},
      {set_in("rope_scaling", "factor", "\"x\""), "`rope_scaling.factor`"},
      {set_in("rope_scaling", "beta_fast", "0"), "`rope_scaling.beta_fast`"},
      {set_in("rope_scaling", "beta_slow", "33"), "expected at most `beta_fast` (32)"},
      {set_in("rope_scaling", "original_max_position_embeddings", "0"),
       "`rope_scaling.original_max_position_embeddings`"},
      {[](json& c) { c["rope_scaling"].erase("original_max_position_embeddings"); },
       "`rope_scaling.original_max_position_embeddings`"},
      {set_in("rope_scaling", "attention_factor", "1.2"), "`rope_scaling.attention_factor`"},
      {set_in("rope_scaling", "mscale", "0.7"), "`rope_scaling.mscale`: expected 1"},
      {set_in("rope_scaling", "truncate", "false"), "`rope_scaling.truncate`: expected true"},
      {[](json& c) {
         c["rope_parameters"] = c["rope_scaling"];
         c["rope_parameters"]["factor"] = 8;
       },
       "`rope_scaling`: expected the same scaling as in `rope_parameters`"},
      {set("rope_parameters", "{\"main\":{}}"), "`rope_parameters.compress`: expected an object"},
      {[](json& c) {
         use_nested_ropes(c);
         c["rope_parameters"]["main"] = c["rope_parameters"]["compress"];
       },
       "`rope_parameters.main.factor`: expected no scaling of the main RoPE, found 16"},
      {[](json& c) {
         c = inference_spelling(c);
         c.erase("rope_factor");
       },
       "`rope_factor`"},
      {[](json& c) {
         c = inference_spelling(c);
         c.erase("n_hash_layers");
       },
       "`num_hash_layers`: expected an integer from 0 to 4096, it is missing"},
      // tokens and storage
      {set("max_position_embeddings", "0"), "`max_position_embeddings`"},
      {set("bos_token_id", "384"), "`bos_token_id`: expected an integer from 0 to 383"},
      {set("eos_token_id", "[1,-2]"), "`eos_token_id[1]`"},
      {set("eos_token_id", "\"</s>\""), "`eos_token_id`"},
      {set("tie_word_embeddings", "\"no\""), "`tie_word_embeddings`"},
      {set("quantization_config", "\"fp8\""), "`quantization_config`: expected an object"},
      {set_in("quantization_config", "quant_method", "\"awq\""),
       "`quantization_config.quant_method`: expected \"fp8\", found \"awq\""},
      {set_in("quantization_config", "weight_block_size", "[128]"), "an array of 2 integers"},
      {set_in("quantization_config", "weight_block_size", "[0,128]"), "weight_block_size[0]"},
      // products that would leave an int
      {[](json& c) {
         c["num_attention_heads"] = 65536;
         c["head_dim"] = 65536;
       },
       "fields `num_attention_heads x head_dim`: expected a product of at most 536870912"},
      {[](json& c) {
         c["n_routed_experts"] = 65536;
         c["moe_intermediate_size"] = 1 << 20;
       },
       "fields `n_routed_experts x moe_intermediate_size`"},
  };
  for (size_t i = 0; i < std::size(cases); ++i) {
    json c = small();
    cases[i].change(c);
    auto result = parse(c.dump(), "dir/config.json");
    ASSERT_FALSE(result) << "case " << i << ": " << cases[i].fragment;
    const std::string& message = result.error().message;
    EXPECT_EQ(result.error().kind, ErrorKind::bad_input);
    EXPECT_EQ(message.rfind("dir/config.json: ", 0), 0u) << message;
    EXPECT_NE(message.find(cases[i].fragment), std::string::npos)
        << "expected " << cases[i].fragment << "\n   found " << message;
  }
}

TEST(DeepseekV4Config, NoFieldOfAnyTypeCrashes) {
  const json good = small();
  for (const auto& [key, value] : good.items()) {
    for (const char* const bad : {"null", "-1", "0", "1e18", "9223372036854775807", "0.5", "true",
                                  "\"\"", "[]", "[0]", "{}", "[[[]]]"}) {
      json c = good;
      c[key] = json::parse(bad);
      (void)parse(c.dump(), "f");
    }
  }
  const std::string text = good.dump();
  for (size_t n = 0; n < text.size(); ++n) EXPECT_FALSE(parse(text.substr(0, n), "f"));
}

}  // namespace
}  // namespace varve::deepseek_v4
