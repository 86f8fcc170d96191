// The tensors of a DeepSeek-V2, V3 or V3.2 checkpoint by their role.
#pragma once

#include <vector>

#include "base/result.h"
#include "models/decoder.h"
#include "models/mla/config.h"
#include "models/weights.h"
#include "tensor/weight.h"

namespace varve::mla {

struct LayerWeights {
  std::vector<float> attn_norm, ffn_norm;  // [d]
  Weight wq;                               // [n_heads * qk_dim, d]; or, with a rank:
  Weight wq_a;                             // [q_lora_rank, d]
  std::vector<float> q_norm;               // [q_lora_rank]
  Weight wq_b;                             // [n_heads * qk_dim, q_lora_rank]
  Weight wkv_a;                            // [kv_lora_rank + rope_dim, d]
  std::vector<float> kv_norm;              // [kv_lora_rank]
  // Keys and values of a head from the latent, absorbed: the key part turned round meets the query,
  // the value part the output. By head.
  std::vector<Weight> uk;            // [kv_lora_rank, nope_dim], in uk_memory
  std::vector<Weight> uv;            // [v_dim, kv_lora_rank]
  bool absorbed = false;             // by the loader: uk is not the checkpoint's
  std::vector<std::byte> uk_memory;  // as bf16 where the checkpoint has that, else as f32
  Weight wo;                         // [d, n_heads * v_dim]
  // V3.2
  Weight index_wq_b;  // [index_n_heads * index_head_dim, q_lora_rank]
  Weight index_wk;    // [index_head_dim, d]
  std::vector<float> index_k_norm, index_k_norm_bias;  // [index_head_dim]: LayerNorm
  Weight index_weights;                                // [index_n_heads, d]

  Weight router;                       // [n_experts, d]; no data in a dense layer
  std::vector<float> router_bias;      // [n_experts], zeros where there is none
  std::vector<ExpertWeights> experts;  // the routed ones, then the shared one
  ExpertWeights dense;                 // [mlp_dim]: of a layer without experts
};

struct Weights : DecoderWeights {
  std::vector<LayerWeights> layers;
};

/// Errors name the tensor, what was expected and what was found.
Result<Weights> load_weights(const WeightLoader& tensors, const Config& config);

}  // namespace varve::mla
