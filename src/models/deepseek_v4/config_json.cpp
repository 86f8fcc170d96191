#include "models/deepseek_v4/config_json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace varve::deepseek_v4 {
namespace {

using nlohmann::ordered_json;

// A float's shortest decimal, as a number: 1e-06 and not 9.99999997e-07.
ordered_json shortest(float value) {
  return ordered_json::parse(fmt::format("{}", value));
}

ordered_json rope_scaling(const YarnScaling& yarn) {
  if (yarn.factor == 1) return nullptr;
  return {{"type", "yarn"},
          {"factor", yarn.factor},
          {"beta_fast", yarn.beta_fast},
          {"beta_slow", yarn.beta_slow},
          {"original_max_position_embeddings", yarn.original_max_position}};
}

// One id, several, or none.
ordered_json ends(const std::vector<int>& ids) {
  if (ids.empty()) return nullptr;
  return ids.size() == 1 ? ordered_json(ids.front()) : ordered_json(ids);
}

}  // namespace

std::string config_json(const Config& c, bool has_fp8) {
  ordered_json ratios = ordered_json::array();
  int n_hash_layers = 0;
  for (const LayerConfig& layer : c.layers) {
    ratios.push_back(layer.ratio);
    n_hash_layers += layer.hash_routed ? 1 : 0;
  }
  ordered_json out = {
      {"architectures", {"DeepseekV4ForCausalLM"}},
      {"model_type", "deepseek_v4"},
      {"vocab_size", c.vocab_size},
      {"hidden_size", c.hidden_size},
      {"num_hidden_layers", c.n_layers},
      {"num_attention_heads", c.n_heads},
      {"num_key_value_heads", 1},
      {"head_dim", c.head_dim},
      {"qk_rope_head_dim", c.rope_dim},
      {"q_lora_rank", c.q_lora_rank},
      {"o_groups", c.o_groups},
      {"o_lora_rank", c.o_lora_rank},
      {"index_n_heads", c.index_n_heads},
      {"index_head_dim", c.index_head_dim},
      {"index_topk", c.index_topk},
      {"sliding_window", c.window},
      {"compress_ratios", ratios},
      {"n_routed_experts", c.n_experts},
      {"num_experts_per_tok", c.n_experts_used},
      {"n_shared_experts", c.n_shared_experts},
      {"moe_intermediate_size", c.moe_dim},
      {"num_hash_layers", n_hash_layers},
      {"scoring_func", "sqrtsoftplus"},
      {"topk_method", "noaux_tc"},
      {"norm_topk_prob", c.norm_topk_prob},
      {"routed_scaling_factor", shortest(c.route_scale)},
      {"swiglu_limit", shortest(c.swiglu_limit)},
      {"hidden_act", "silu"},
      {"hc_mult", c.hc_mult},
      {"hc_sinkhorn_iters", c.hc_iters},
      {"hc_eps", shortest(c.hc_eps)},
      {"rms_norm_eps", shortest(c.rms_eps)},
      {"rope_theta", c.window_rope.theta},
      {"compress_rope_theta", c.compress_rope.theta},
      {"rope_scaling", rope_scaling(c.compress_rope.yarn)},
      {"max_position_embeddings", c.max_position},
      {"num_nextn_predict_layers", 0},
      {"tie_word_embeddings", c.tied_head},
      {"bos_token_id", c.bos_id < 0 ? ordered_json() : ordered_json(c.bos_id)},
      {"eos_token_id", ends(c.eos_ids)},
      {"attention_bias", false},
      {"attention_dropout", 0.0},
      {"initializer_range", 0.02},
      {"use_cache", true},
      {"torch_dtype", "bfloat16"},
  };
  if (has_fp8) {
    out["quantization_config"] = {{"quant_method", "fp8"},
                                  {"fmt", "e4m3"},
                                  {"activation_scheme", "dynamic"},
                                  {"scale_fmt", "ue8m0"},
                                  {"weight_block_size", {c.fp8_block_rows, c.fp8_block_cols}}};
  }
  return out.dump(1) + '\n';
}

}  // namespace varve::deepseek_v4
