#include "models/llama/weights.h"

namespace varve::llama {
namespace {

Result<std::vector<float>> bias(const LayerTensors& tensors, const std::string& name, int n,
                                bool is_there) {
  if (!is_there) return std::vector<float>{};
  return tensors.vector(name + ".bias", n);
}

Result<LayerWeights> load_layer(const LayerTensors& tensors, const Config& c) {
  const int d = c.hidden_size;
  const int q_dim = c.n_heads * c.head_dim, kv_dim = c.n_kv_heads * c.head_dim;
  LayerWeights out;
  VARVE_TRY(out.attn_norm, tensors.vector("input_layernorm.weight", d));
  VARVE_TRY(out.ffn_norm, tensors.vector("post_attention_layernorm.weight", d));
  VARVE_TRY(out.wq, tensors.linear("self_attn.q_proj", q_dim, d));
  VARVE_TRY(out.wk, tensors.linear("self_attn.k_proj", kv_dim, d));
  VARVE_TRY(out.wv, tensors.linear("self_attn.v_proj", kv_dim, d));
  VARVE_TRY(out.wo, tensors.linear("self_attn.o_proj", d, q_dim));
  VARVE_TRY(out.bq, bias(tensors, "self_attn.q_proj", q_dim, c.qkv_bias));
  VARVE_TRY(out.bk, bias(tensors, "self_attn.k_proj", kv_dim, c.qkv_bias));
  VARVE_TRY(out.bv, bias(tensors, "self_attn.v_proj", kv_dim, c.qkv_bias));
  VARVE_TRY(out.bo, bias(tensors, "self_attn.o_proj", d, c.output_bias));
  if (c.qk_norm) {
    VARVE_TRY(out.q_norm, tensors.vector("self_attn.q_norm.weight", c.head_dim));
    VARVE_TRY(out.k_norm, tensors.vector("self_attn.k_norm.weight", c.head_dim));
  }
  VARVE_TRY(out.mlp, tensors.mlp("mlp.", d, c.mlp_dim));
  VARVE_TRY(out.mlp_bias.gate, bias(tensors, "mlp.gate_proj", c.mlp_dim, c.mlp_bias));
  VARVE_TRY(out.mlp_bias.up, bias(tensors, "mlp.up_proj", c.mlp_dim, c.mlp_bias));
  VARVE_TRY(out.mlp_bias.down, bias(tensors, "mlp.down_proj", d, c.mlp_bias));
  return out;
}

}  // namespace

Result<Weights> load_weights(const WeightLoader& tensors, const Config& config) {
  VARVE_TRY(DecoderWeights ends, load_decoder(tensors, config));
  Weights out{std::move(ends), {}};
  for (int l = 0; l < config.n_layers; ++l) {
    VARVE_TRY(LayerWeights layer, load_layer({tensors, l}, config));
    out.layers.push_back(std::move(layer));
  }
  return out;
}

}  // namespace varve::llama
