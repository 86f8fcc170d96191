// The tensors of a checkpoint of the Llama line by their role.
#pragma once

#include <vector>

#include "base/result.h"
#include "models/decoder.h"
#include "models/llama/config.h"
#include "models/weights.h"
#include "tensor/weight.h"

namespace varve::llama {

struct LayerWeights {
  std::vector<float> attn_norm;  // [d]
  std::vector<float> ffn_norm;   // [d]
  Weight wq;                     // [n_heads * head_dim, d]
  Weight wk, wv;                 // [n_kv_heads * head_dim, d]
  Weight wo;                     // [d, n_heads * head_dim]
  // Empty where the family has none.
  std::vector<float> bq, bk, bv, bo;
  std::vector<float> q_norm, k_norm;  // [head_dim]
  ExpertWeights mlp;                  // [mlp_dim]
  MlpBiases mlp_bias;
};

struct Weights : DecoderWeights {
  std::vector<LayerWeights> layers;
};

/// Errors name the tensor, what was expected and what was found.
Result<Weights> load_weights(const WeightLoader& tensors, const Config& config);

}  // namespace varve::llama
