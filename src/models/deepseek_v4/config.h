// config.json of a DeepSeek-V4 checkpoint, in every published spelling, checked (spec section 1).
#pragma once

#include <string_view>
#include <vector>

#include "attention/rope.h"
#include "base/result.h"
#include "formats/json_reader.h"
#include "kvcache/shape.h"
#include "models/decoder_config.h"

namespace varve::deepseek_v4 {

struct RopeConfig {
  double theta = 10000;
  YarnScaling yarn;
};

struct LayerConfig {
  LayerKind attention = LayerKind::swa;
  int ratio = 0;             // tokens per compressed entry; 0 for swa
  bool hash_routed = false;  // experts by token id (tid2eid) instead of by score
};

inline constexpr std::string_view kModelType = "deepseek_v4";

struct Config : DecoderConfig {  // n_layers: the MTP block not counted
  Config() { model_type = kModelType; }

  int n_heads = 0;   // query heads; K = V has one
  int head_dim = 0;  // c, RoPE dims included
  int rope_dim = 0;  // the last ones of head_dim; even
  int q_lora_rank = 0;
  int o_groups = 0;
  int o_lora_rank = 0;
  int index_n_heads = 0;  // 0 where no layer is CSA
  int index_head_dim = 0;
  int index_topk = 0;
  int window = 0;  // tokens visible whole, the query's own included
  int n_experts = 0;
  int n_experts_used = 0;
  int n_shared_experts = 0;
  int moe_dim = 0;  // width of one routed expert
  bool norm_topk_prob = true;
  float route_scale = 1;
  float swiglu_limit = 0;  // 0: no clamp
  int hc_mult = 0;         // residual streams
  int hc_iters = 0;        // Sinkhorn iterations
  float hc_eps = 1e-6f;
  RopeConfig window_rope;           // SWA-only layers
  RopeConfig compress_rope;         // CSA and HCA layers, their window rows included
  std::vector<LayerConfig> layers;  // n_layers

  CacheShape cache_shape() const;
};

/// Reads a parsed config.json. Messages say which field, what was expected and what was found.
/// Fields that varve would have to ignore to its user's harm (another model_type, attention biases,
/// an unknown routing function) are refused.
Result<Config> parse_config(const JsonObject& root);

}  // namespace varve::deepseek_v4
