// A small config.json and what tests turn it into.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "models/deepseek_v4/config.h"

namespace varve::deepseek_v4 {

using nlohmann::json;
using Change = std::function<void(json&)>;

// Layers: SWA, CSA, HCA, CSA, HCA.
inline json small() {
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

inline Result<Config> parse(const std::string& text, const std::string& file) {
  VARVE_TRY(const JsonObject root, JsonObject::parse(text, file));
  return parse_config(root);
}

inline void use_layer_types(json& c) {
  c.erase("compress_ratios");
  c["layer_types"] = {"sliding_attention", "compressed_sparse_attention",
                      "heavily_compressed_attention", "compressed_sparse_attention",
                      "heavily_compressed_attention"};
}

inline void use_nested_ropes(json& c) {
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
inline json inference_spelling(json c) {
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

}  // namespace varve::deepseek_v4
