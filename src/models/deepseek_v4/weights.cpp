#include "models/deepseek_v4/weights.h"

#include <map>
#include <memory>
#include <string>

#include "models/deepseek_v4/synthetic.h"

namespace varve::deepseek_v4 {
namespace {

using Names = std::vector<std::string>;

// One layer's tensors under the official prefix and under Transformers'.
struct Loader {
  const WeightLoader& tensors;
  const Config& config;
  std::string official;      // "layers.3."
  std::string transformers;  // "model.layers.3."

  Names names(const std::string& a, const std::string& b) const {
    return {official + a, transformers + b};
  }

  Result<HyperConnection> hyper_connection(const std::string& site) const {
    const int hc = config.hc_mult;
    const int n_mix = (2 + hc) * hc;
    HyperConnection out;
    // fn is no ".weight": it is a bare parameter in both spellings.
    VARVE_TRY(out.fn, tensors.bare(names("hc_" + site + "_fn", site + "_hc.fn"), n_mix,
                                   hc * config.hidden_size));
    VARVE_TRY(out.base, tensors.vector(names("hc_" + site + "_base", site + "_hc.base"), {n_mix}));
    VARVE_TRY(out.scale, tensors.vector(names("hc_" + site + "_scale", site + "_hc.scale"), {3}));
    return out;
  }

  Result<CompressorWeights> compressor(const std::string& a, const std::string& b, int ratio,
                                       int dim, bool overlap) const {
    const int width = overlap ? 2 * dim : dim;
    CompressorWeights out;
    VARVE_TRY(out.kv, tensors.linear(names(a + "wkv", b + "kv_proj"), width, config.hidden_size));
    VARVE_TRY(out.gate,
              tensors.linear(names(a + "wgate", b + "gate_proj"), width, config.hidden_size));
    VARVE_TRY(out.position_bias,
              tensors.vector(names(a + "ape", b + "position_bias"), {ratio, width}));
    VARVE_TRY(out.norm, tensors.vector(names(a + "norm.weight", b + "kv_norm.weight"), {dim}));
    return out;
  }

  Result<void> attention(const LayerConfig& layer, LayerWeights& out) const {
    const Config& c = config;
    const int heads_dim = c.n_heads * c.head_dim;
    VARVE_TRY(out.wq_a, tensors.linear(names("attn.wq_a", "self_attn.q_a_proj"), c.q_lora_rank,
                                       c.hidden_size));
    VARVE_TRY(out.q_norm, tensors.vector(names("attn.q_norm.weight", "self_attn.q_a_norm.weight"),
                                         {c.q_lora_rank}));
    VARVE_TRY(out.wq_b,
              tensors.linear(names("attn.wq_b", "self_attn.q_b_proj"), heads_dim, c.q_lora_rank));
    VARVE_TRY(out.wkv,
              tensors.linear(names("attn.wkv", "self_attn.kv_proj"), c.head_dim, c.hidden_size));
    VARVE_TRY(out.kv_norm, tensors.vector(names("attn.kv_norm.weight", "self_attn.kv_norm.weight"),
                                          {c.head_dim}));
    VARVE_TRY(out.sinks, tensors.vector(names("attn.attn_sink", "self_attn.sinks"), {c.n_heads}));
    VARVE_TRY(const Weight wo_a,
              tensors.linear(names("attn.wo_a", "self_attn.o_a_proj"), c.o_groups * c.o_lora_rank,
                             heads_dim / c.o_groups));
    for (int g = 0; g < c.o_groups; ++g) {
      out.wo_a.push_back(wo_a.rows(g * c.o_lora_rank, c.o_lora_rank));
    }
    VARVE_TRY(out.wo_b, tensors.linear(names("attn.wo_b", "self_attn.o_b_proj"), c.hidden_size,
                                       c.o_groups * c.o_lora_rank));
    if (layer.attention == LayerKind::swa) return {};

    const bool csa = layer.attention == LayerKind::csa;
    VARVE_TRY(out.compressor, compressor("attn.compressor.", "self_attn.compressor.", layer.ratio,
                                         c.head_dim, csa));
    if (!csa) return {};
    const std::string indexer = "self_attn.compressor.indexer.";
    VARVE_TRY(out.index_wq_b, tensors.linear(names("attn.indexer.wq_b", indexer + "q_b_proj"),
                                             c.index_n_heads * c.index_head_dim, c.q_lora_rank));
    Names weights = names("attn.indexer.weights_proj", indexer + "weights_proj");
    weights.push_back(transformers + indexer + "scorer.weights_proj");
    VARVE_TRY(out.index_weights, tensors.linear(weights, c.index_n_heads, c.hidden_size));
    VARVE_TRY(out.index_compressor,
              compressor("attn.indexer.compressor.", indexer, layer.ratio, c.index_head_dim, true));
    return {};
  }

  Result<ExpertWeights> expert(int e) const {
    const Config& c = config;
    const std::string stack = transformers + "mlp.experts.";
    if (tensors.has(stack + "gate_proj.weight")) {
      return tensors.stacked_mlp(stack, e, c.n_experts, c.hidden_size, c.moe_dim);
    }
    ExpertWeights out;
    if (tensors.has(stack + "gate_up_proj")) {
      const std::string gate_up = stack + "gate_up_proj";
      VARVE_TRY(out.gate, tensors.stacked(gate_up, e, c.n_experts, 2 * c.moe_dim, 0, c.moe_dim,
                                          c.hidden_size));
      VARVE_TRY(out.up, tensors.stacked(gate_up, e, c.n_experts, 2 * c.moe_dim, c.moe_dim,
                                        c.moe_dim, c.hidden_size));
      VARVE_TRY(out.down, tensors.stacked(stack + "down_proj", e, c.n_experts, c.hidden_size, 0,
                                          c.hidden_size, c.moe_dim));
      return out;
    }
    return mlp(fmt::format("ffn.experts.{}.", e), fmt::format("mlp.experts.{}.", e), c.moe_dim);
  }

  Result<ExpertWeights> mlp(const std::string& a, const std::string& b, int width) const {
    const int d = config.hidden_size;
    ExpertWeights out;
    VARVE_TRY(out.gate, tensors.linear(names(a + "w1", b + "gate_proj"), width, d));
    VARVE_TRY(out.up, tensors.linear(names(a + "w3", b + "up_proj"), width, d));
    VARVE_TRY(out.down, tensors.linear(names(a + "w2", b + "down_proj"), d, width));
    return out;
  }

  Result<void> experts(const LayerConfig& layer, LayerWeights& out) const {
    const Config& c = config;
    VARVE_TRY(out.router,
              tensors.linear(names("ffn.gate", "mlp.gate"), c.n_experts, c.hidden_size));
    if (layer.hash_routed) {
      VARVE_TRY(out.experts_by_id, tensors.integers(names("ffn.gate.tid2eid", "mlp.gate.tid2eid"),
                                                    c.vocab_size, c.n_experts_used, c.n_experts));
    } else {
      VARVE_TRY(out.router_bias,
                tensors.vector(names("ffn.gate.bias", "mlp.gate.e_score_correction_bias"),
                               {c.n_experts}));
    }
    for (int e = 0; e < c.n_experts; ++e) {
      VARVE_TRY(ExpertWeights one, expert(e));
      out.experts.push_back(one);
    }
    if (c.n_shared_experts > 0) {
      VARVE_TRY(ExpertWeights shared,
                mlp("ffn.shared_experts.", "mlp.shared_experts.", c.moe_dim * c.n_shared_experts));
      out.experts.push_back(shared);
    }
    return {};
  }

  Result<LayerWeights> layer(const LayerConfig& layer_config) const {
    LayerWeights out;
    const int d = config.hidden_size;
    VARVE_TRY(out.attn_hc, hyper_connection("attn"));
    VARVE_TRY(out.ffn_hc, hyper_connection("ffn"));
    VARVE_TRY(out.attn_norm,
              tensors.vector(names("attn_norm.weight", "input_layernorm.weight"), {d}));
    VARVE_TRY(out.ffn_norm,
              tensors.vector(names("ffn_norm.weight", "post_attention_layernorm.weight"), {d}));
    VARVE_CHECKED(attention(layer_config, out));
    VARVE_CHECKED(experts(layer_config, out));
    return out;
  }
};

}  // namespace

Result<StoredTypes> stored_types(const JsonObject& json, const Config& config) {
  if (!json.has("quantization_config")) return varve::stored_types(json);
  const auto types = std::make_shared<std::map<std::string, DType, std::less<>>>();
  for (const SyntheticTensor& tensor : synthetic_tensors(config)) {
    const auto type = dtype_from_safetensors(tensor.declared.dtype);
    if (type) types->emplace(tensor.declared.name, *type);
  }
  return StoredTypes{.of_matrix =
                         [types](std::string_view name) {
                           const auto found = types->find(name);
                           return found == types->end() ? DType::bf16 : found->second;
                         },
                     .fp8_scales = DType::f8_e8m0};
}

Result<Weights> load_weights(const WeightLoader& tensors, const Config& config) {
  const int d = config.hidden_size;
  const int hc = config.hc_mult;
  VARVE_TRY(DecoderWeights ends, load_decoder(tensors, config,
                                              {.embed = {"embed", "model.embed_tokens"},
                                               .norm = {"norm.weight", "model.norm.weight"},
                                               .head = {"head", "lm_head"}}));
  Weights out{std::move(ends), {}, {}};
  const Loader root{tensors, config, "", "model."};
  VARVE_TRY(out.head_hc.fn, tensors.bare(root.names("hc_head_fn", "hc_head.hc_fn"), hc, hc * d));
  VARVE_TRY(out.head_hc.base, tensors.vector(root.names("hc_head_base", "hc_head.hc_base"), {hc}));
  VARVE_TRY(out.head_hc.scale,
            tensors.vector(root.names("hc_head_scale", "hc_head.hc_scale"), {1}));
  for (int l = 0; l < config.n_layers; ++l) {
    const Loader loader{tensors, config, fmt::format("layers.{}.", l),
                        fmt::format("model.layers.{}.", l)};
    VARVE_TRY(LayerWeights layer, loader.layer(config.layers[static_cast<size_t>(l)]));
    out.layers.push_back(std::move(layer));
  }
  return out;
}

}  // namespace varve::deepseek_v4
