// config.json of DeepSeek-V2, V3 and V3.2: multi-head latent attention (MLA), a mixture of experts,
// and in V3.2 the Lightning Indexer over every token (DSA).
#pragma once

#include <array>
#include <string_view>

#include "attention/rope.h"
#include "base/result.h"
#include "formats/json_reader.h"
#include "kvcache/shape.h"
#include "models/decoder_config.h"

namespace varve::mla {

/// Groups of experts at most.
inline constexpr int kMaxGroups = 256;

/// How the router picks experts.
struct RouterConfig {
  bool sigmoid = false;       // of the scores; else softmax
  bool has_bias = false;      // for the choice alone (noaux_tc)
  int n_groups = 1;           // of experts, of which
  int n_groups_used = 1;      // so many are looked into
  int best_of_group = 1;      // a group's score is the sum of its best so many
  bool norm_weights = false;  // weights of the chosen ones are made to sum to 1
  float scale = 1;            // of the weights
};

struct Config : DecoderConfig {
  int n_heads = 0;
  int q_lora_rank = 0;  // 0: queries come from the hidden state itself
  int kv_lora_rank = 0;
  int nope_dim = 0;   // of a query's head: values that are not rotated,
  int rope_dim = 0;   // and those that are
  int v_dim = 0;      // of a head's output
  int mlp_dim = 0;    // of dense layers
  int moe_dim = 0;    // of one routed expert
  int n_experts = 0;  // routed ones of a layer; 0 where all layers are dense
  int n_experts_used = 0;
  int n_shared_experts = 0;
  int n_dense_layers = 0;  // the first ones have no experts
  RouterConfig router;
  int index_n_heads = 0;  // 0: no indexer
  int index_head_dim = 0;
  int index_topk = 0;
  float softmax_scale = 1;
  Rope rope;

  int qk_dim() const { return nope_dim + rope_dim; }
  /// Values of a cached row: the latent, then the rotated key that all heads share.
  int latent_dim() const { return kv_lora_rank + rope_dim; }
  CacheShape cache_shape() const;
};

inline constexpr std::array<std::string_view, 3> kModelTypes = {"deepseek_v2", "deepseek_v3",
                                                                "deepseek_v32"};

/// As llama::parse_config.
Result<Config> parse_config(const JsonObject& root);

}  // namespace varve::mla
