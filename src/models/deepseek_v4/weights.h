// The tensors of a DeepSeek-V4 checkpoint by their role (spec section 11).
#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "models/decoder.h"
#include "models/deepseek_v4/config.h"
#include "models/weights.h"
#include "tensor/weight.h"

namespace varve::deepseek_v4 {

/// One site of the hyper-connections (spec 7).
struct HyperConnection {
  Weight fn;                 // [(2 + hc) * hc, hc * d]; of the head: [hc, hc * d]
  std::vector<float> base;   // [(2 + hc) * hc]; of the head: [hc]
  std::vector<float> scale;  // [3]; of the head: [1]
};

struct CompressorWeights {
  Weight kv;                         // [width, d], width = (2 if overlapping) * dim
  Weight gate;                       // [width, d]
  std::vector<float> position_bias;  // [ratio, width]
  std::vector<float> norm;           // [dim]
};

struct LayerWeights {
  HyperConnection attn_hc, ffn_hc;
  std::vector<float> attn_norm, ffn_norm;  // [d]

  Weight wq_a;                 // [q_lora, d]
  std::vector<float> q_norm;   // [q_lora]
  Weight wq_b;                 // [n_heads * head_dim, q_lora]
  Weight wkv;                  // [head_dim, d]
  std::vector<float> kv_norm;  // [head_dim]
  std::vector<float> sinks;    // [n_heads]
  std::vector<Weight> wo_a;    // o_groups of [o_lora, n_heads / o_groups * head_dim]
  Weight wo_b;                 // [d, o_groups * o_lora]

  CompressorWeights compressor;        // CSA and HCA
  Weight index_wq_b;                   // CSA: [index_n_heads * index_head_dim, q_lora]
  Weight index_weights;                // CSA: [index_n_heads, d]
  CompressorWeights index_compressor;  // CSA

  Weight router;                       // [n_experts, d]
  std::vector<float> router_bias;      // score-routed: [n_experts]
  std::vector<int32_t> experts_by_id;  // hash-routed: [vocab, n_experts_used]
  std::vector<ExpertWeights> experts;  // n_experts, then the shared one if there is one
};

struct Weights : DecoderWeights {
  HyperConnection head_hc;
  std::vector<LayerWeights> layers;
};

/// The official types of a config with `quantization_config` (spec 11); else as of any family.
Result<StoredTypes> stored_types(const JsonObject& json, const Config& config);

/// Checks every tensor the forward pass needs. Tensors it does not need (`mtp.*` and others) are
/// left alone.
Result<Weights> load_weights(const WeightLoader& tensors, const Config& config);

}  // namespace varve::deepseek_v4
