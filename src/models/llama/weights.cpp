#include "models/llama/weights.h"

#include "models/weights.h"

namespace varve::llama {
namespace {

struct Loader {
  const WeightLoader& tensors;
  const Config& config;
  std::string prefix;  // "model.layers.3."

  Result<Weight> linear(const std::string& name, int n_rows, int n_cols) const {
    return tensors.linear({prefix + name}, n_rows, n_cols);
  }
  Result<std::vector<float>> vector(const std::string& name, int n) const {
    return tensors.vector({prefix + name}, {n});
  }
  Result<void> bias(std::vector<float>& out, const std::string& name, int n, bool is_there) const {
    if (!is_there) return {};
    VARVE_TRY(out, vector(name + ".bias", n));
    return {};
  }

  Result<LayerWeights> layer() const {
    const Config& c = config;
    const int d = c.hidden_size;
    const int q_dim = c.n_heads * c.head_dim, kv_dim = c.n_kv_heads * c.head_dim;
    LayerWeights out;
    VARVE_TRY(out.attn_norm, vector("input_layernorm.weight", d));
    VARVE_TRY(out.ffn_norm, vector("post_attention_layernorm.weight", d));
    VARVE_TRY(out.wq, linear("self_attn.q_proj", q_dim, d));
    VARVE_TRY(out.wk, linear("self_attn.k_proj", kv_dim, d));
    VARVE_TRY(out.wv, linear("self_attn.v_proj", kv_dim, d));
    VARVE_TRY(out.wo, linear("self_attn.o_proj", d, q_dim));
    VARVE_CHECKED(bias(out.bq, "self_attn.q_proj", q_dim, c.qkv_bias));
    VARVE_CHECKED(bias(out.bk, "self_attn.k_proj", kv_dim, c.qkv_bias));
    VARVE_CHECKED(bias(out.bv, "self_attn.v_proj", kv_dim, c.qkv_bias));
    VARVE_CHECKED(bias(out.bo, "self_attn.o_proj", d, c.output_bias));
    if (c.qk_norm) {
      VARVE_TRY(out.q_norm, vector("self_attn.q_norm.weight", c.head_dim));
      VARVE_TRY(out.k_norm, vector("self_attn.k_norm.weight", c.head_dim));
    }
    VARVE_TRY(out.gate, linear("mlp.gate_proj", c.mlp_dim, d));
    VARVE_TRY(out.up, linear("mlp.up_proj", c.mlp_dim, d));
    VARVE_TRY(out.down, linear("mlp.down_proj", d, c.mlp_dim));
    VARVE_CHECKED(bias(out.gate_bias, "mlp.gate_proj", c.mlp_dim, c.mlp_bias));
    VARVE_CHECKED(bias(out.up_bias, "mlp.up_proj", c.mlp_dim, c.mlp_bias));
    VARVE_CHECKED(bias(out.down_bias, "mlp.down_proj", d, c.mlp_bias));
    return out;
  }
};

}  // namespace

Result<Weights> load_weights(const Checkpoint& checkpoint, const Config& config) {
  const WeightLoader tensors(checkpoint, config.fp8_block_rows, config.fp8_block_cols);
  const int d = config.hidden_size;
  Weights out;
  VARVE_TRY(out.embed, tensors.linear({"model.embed_tokens"}, config.vocab_size, d));
  if (config.tied_head) {
    out.head = out.embed;
  } else {
    VARVE_TRY(out.head, tensors.linear({"lm_head"}, config.vocab_size, d));
  }
  VARVE_TRY(out.norm, tensors.vector({"model.norm.weight"}, {d}));
  for (int l = 0; l < config.n_layers; ++l) {
    const Loader loader{tensors, config, fmt::format("model.layers.{}.", l)};
    VARVE_TRY(LayerWeights layer, loader.layer());
    out.layers.push_back(std::move(layer));
  }
  return out;
}

}  // namespace varve::llama
