#include "models/gguf_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

namespace varve {
namespace {

// What a tensor goes by in safetensors files, and in GGUF files.
using Pair = std::pair<std::string_view, std::string_view>;

// Without ".weight" or ".bias" where both have it, whole otherwise.
constexpr std::array kOuter = {
    Pair{"embed_tokens", "token_embd"},
    Pair{"norm", "output_norm"},
    Pair{"lm_head", "output"},
    Pair{"hc_head.hc_fn", "output_hc_fn.weight"},
    Pair{"hc_head.hc_base", "output_hc_base.weight"},
    Pair{"hc_head.hc_scale", "output_hc_scale.weight"},
    // DeepSeek-V4's official names
    Pair{"embed", "token_embd"},
    Pair{"head", "output"},
    Pair{"hc_head_fn", "output_hc_fn.weight"},
    Pair{"hc_head_base", "output_hc_base.weight"},
    Pair{"hc_head_scale", "output_hc_scale.weight"},
};

// The same of one layer's, behind "layers.N." and "blk.N.".
constexpr std::array kInLayer = {
    Pair{"input_layernorm", "attn_norm"},
    Pair{"post_attention_layernorm", "ffn_norm"},
    Pair{"self_attn.q_proj", "attn_q"},
    Pair{"self_attn.k_proj", "attn_k"},
    Pair{"self_attn.v_proj", "attn_v"},
    Pair{"self_attn.o_proj", "attn_output"},
    Pair{"self_attn.q_norm", "attn_q_norm"},
    Pair{"self_attn.k_norm", "attn_k_norm"},
    Pair{"mlp.gate_proj", "ffn_gate"},
    Pair{"mlp.up_proj", "ffn_up"},
    Pair{"mlp.down_proj", "ffn_down"},
    // latent attention; k_b and v_b are the two parts of kv_b by head, k_b turned round
    Pair{"self_attn.q_a_proj", "attn_q_a"},
    Pair{"self_attn.q_a_layernorm", "attn_q_a_norm"},
    Pair{"self_attn.q_b_proj", "attn_q_b"},
    Pair{"self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"},
    Pair{"self_attn.kv_a_layernorm", "attn_kv_a_norm"},
    Pair{"self_attn.kv_b_proj", "attn_kv_b"},
    Pair{"self_attn.k_b_proj", "attn_k_b"},
    Pair{"self_attn.v_b_proj", "attn_v_b"},
    // experts
    Pair{"mlp.gate", "ffn_gate_inp"},
    Pair{"mlp.gate.e_score_correction_bias", "exp_probs_b.bias"},
    Pair{"mlp.gate.tid2eid", "ffn_gate_tid2eid.weight"},
    Pair{"mlp.experts.gate_proj", "ffn_gate_exps"},
    Pair{"mlp.experts.up_proj", "ffn_up_exps"},
    Pair{"mlp.experts.down_proj", "ffn_down_exps"},
    Pair{"mlp.shared_experts.gate_proj", "ffn_gate_shexp"},
    Pair{"mlp.shared_experts.up_proj", "ffn_up_shexp"},
    Pair{"mlp.shared_experts.down_proj", "ffn_down_shexp"},
    // DeepSeek-V4
    Pair{"attn_hc.fn", "hc_attn_fn.weight"},
    Pair{"attn_hc.base", "hc_attn_base.weight"},
    Pair{"attn_hc.scale", "hc_attn_scale.weight"},
    Pair{"ffn_hc.fn", "hc_ffn_fn.weight"},
    Pair{"ffn_hc.base", "hc_ffn_base.weight"},
    Pair{"ffn_hc.scale", "hc_ffn_scale.weight"},
    Pair{"self_attn.q_a_norm", "attn_q_a_norm"},
    Pair{"self_attn.kv_proj", "attn_kv"},
    Pair{"self_attn.kv_norm", "attn_kv_a_norm"},
    Pair{"self_attn.sinks", "attn_sinks.weight"},
    Pair{"self_attn.o_a_proj", "attn_output_a"},
    Pair{"self_attn.o_b_proj", "attn_output_b"},
    Pair{"self_attn.compressor.kv_proj", "attn_compressor_kv"},
    Pair{"self_attn.compressor.gate_proj", "attn_compressor_gate"},
    Pair{"self_attn.compressor.position_bias", "attn_compressor_ape.weight"},
    Pair{"self_attn.compressor.kv_norm", "attn_compressor_norm"},
    Pair{"self_attn.compressor.indexer.q_b_proj", "indexer.attn_q_b"},
    Pair{"self_attn.compressor.indexer.weights_proj", "indexer.proj"},
    Pair{"self_attn.compressor.indexer.kv_proj", "indexer_compressor_kv"},
    Pair{"self_attn.compressor.indexer.gate_proj", "indexer_compressor_gate"},
    Pair{"self_attn.compressor.indexer.position_bias", "indexer_compressor_ape.weight"},
    Pair{"self_attn.compressor.indexer.kv_norm", "indexer_compressor_norm"},
    // and its official names
    Pair{"attn_norm", "attn_norm"},
    Pair{"ffn_norm", "ffn_norm"},
    Pair{"hc_attn_fn", "hc_attn_fn.weight"},
    Pair{"hc_attn_base", "hc_attn_base.weight"},
    Pair{"hc_attn_scale", "hc_attn_scale.weight"},
    Pair{"hc_ffn_fn", "hc_ffn_fn.weight"},
    Pair{"hc_ffn_base", "hc_ffn_base.weight"},
    Pair{"hc_ffn_scale", "hc_ffn_scale.weight"},
    Pair{"attn.wq_a", "attn_q_a"},
    Pair{"attn.q_norm", "attn_q_a_norm"},
    Pair{"attn.wq_b", "attn_q_b"},
    Pair{"attn.wkv", "attn_kv"},
    Pair{"attn.kv_norm", "attn_kv_a_norm"},
    Pair{"attn.attn_sink", "attn_sinks.weight"},
    Pair{"attn.wo_a", "attn_output_a"},
    Pair{"attn.wo_b", "attn_output_b"},
    Pair{"attn.compressor.wkv", "attn_compressor_kv"},
    Pair{"attn.compressor.wgate", "attn_compressor_gate"},
    Pair{"attn.compressor.ape", "attn_compressor_ape.weight"},
    Pair{"attn.compressor.norm", "attn_compressor_norm"},
    Pair{"attn.indexer.wq_b", "indexer.attn_q_b"},
    Pair{"attn.indexer.weights_proj", "indexer.proj"},
    Pair{"attn.indexer.compressor.wkv", "indexer_compressor_kv"},
    Pair{"attn.indexer.compressor.wgate", "indexer_compressor_gate"},
    Pair{"attn.indexer.compressor.ape", "indexer_compressor_ape.weight"},
    Pair{"attn.indexer.compressor.norm", "indexer_compressor_norm"},
    Pair{"ffn.gate", "ffn_gate_inp"},
    Pair{"ffn.gate.bias", "exp_probs_b.bias"},
    Pair{"ffn.gate.tid2eid", "ffn_gate_tid2eid.weight"},
    Pair{"ffn.experts.w1", "ffn_gate_exps"},
    Pair{"ffn.experts.w3", "ffn_up_exps"},
    Pair{"ffn.experts.w2", "ffn_down_exps"},
    Pair{"ffn.shared_experts.w1", "ffn_gate_shexp"},
    Pair{"ffn.shared_experts.w3", "ffn_up_shexp"},
    Pair{"ffn.shared_experts.w2", "ffn_down_shexp"},
};

std::string_view find(std::span<const Pair> pairs, std::string_view name) {
  const auto found =
      std::find_if(pairs.begin(), pairs.end(), [&](const Pair& p) { return p.first == name; });
  return found == pairs.end() ? std::string_view{} : found->second;
}

// A whole name first: of "ffn.gate.bias" the end is no suffix.
std::string translate(std::span<const Pair> pairs, std::string_view name) {
  if (const std::string_view whole = find(pairs, name); !whole.empty()) return std::string(whole);
  for (const std::string_view suffix : {".weight", ".bias"}) {
    if (!name.ends_with(suffix)) continue;
    const std::string_view stem = find(pairs, name.substr(0, name.size() - suffix.size()));
    if (!stem.empty()) return fmt::format("{}{}", stem, suffix);
  }
  return {};
}

}  // namespace

std::string gguf_tensor_name(std::string_view name) {
  constexpr std::string_view kRoot = "model.", kLayers = "layers.";
  if (name.starts_with(kRoot)) name.remove_prefix(kRoot.size());
  if (!name.starts_with(kLayers)) return translate(kOuter, name);
  name.remove_prefix(kLayers.size());
  const size_t dot = name.find('.');
  if (dot == name.npos) return {};
  const std::string in_layer = translate(kInLayer, name.substr(dot + 1));
  return in_layer.empty() ? in_layer : fmt::format("blk.{}.{}", name.substr(0, dot), in_layer);
}

}  // namespace varve
