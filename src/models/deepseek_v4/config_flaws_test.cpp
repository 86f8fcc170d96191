// What a config.json of DeepSeek-V4 may not say: each flaw is one sentence that names the field.
#include <gtest/gtest.h>

#include "models/deepseek_v4/test_config.h"

namespace varve::deepseek_v4 {
namespace {

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
