#include "models/mla/weights.h"

#include <cstring>

#include "tensor/codecs.h"

namespace varve::mla {
namespace {

struct Loader {
  const WeightLoader& all;
  const LayerTensors tensors;
  const Config& config;

  // Rows of kv_b are, head by head, nope_dim of keys and v_dim of values.
  void absorb(const Weight& kv_b, LayerWeights& out) const {
    const Config& c = config;
    const auto rank = static_cast<size_t>(c.kv_lora_rank), nope = static_cast<size_t>(c.nope_dim);
    const bool narrow = kv_b.type == DType::bf16 && kv_b.scales == nullptr;
    const size_t value_bytes = narrow ? sizeof(uint16_t) : sizeof(float);
    const size_t head_bytes = rank * nope * value_bytes;
    out.absorbed = true;
    for (int h = 0; h < c.n_heads; ++h) {
      const int first = h * (c.nope_dim + c.v_dim);
      out.uk.push_back({.type = narrow ? DType::bf16 : DType::f32,
                        .n_rows = c.kv_lora_rank,
                        .n_cols = c.nope_dim,
                        .data = kv_b.data,
                        .row_bytes = nope * value_bytes});
      out.uv.push_back(kv_b.rows(first + c.nope_dim, c.v_dim));
    }
    if (!all.has_values()) return;
    out.uk_memory.resize(head_bytes * static_cast<size_t>(c.n_heads));
    std::vector<float> row(rank);
    for (int h = 0; h < c.n_heads; ++h) {
      const int first = h * (c.nope_dim + c.v_dim);
      std::byte* const turned = out.uk_memory.data() + static_cast<size_t>(h) * head_bytes;
      for (size_t r = 0; r < nope; ++r) {
        decode_row(kv_b, first + static_cast<int>(r), row);
        for (size_t col = 0; col < rank; ++col) {
          std::byte* const to = turned + (col * nope + r) * value_bytes;
          if (narrow) {
            const uint16_t bits = bf16_from_f32(row[col]);
            std::memcpy(to, &bits, sizeof bits);
          } else {
            std::memcpy(to, &row[col], sizeof row[col]);
          }
        }
      }
      out.uk[static_cast<size_t>(h)].data = turned;
    }
  }

  // GGUF files may have them absorbed.
  Result<void> up_projections(LayerWeights& out) const {
    const Config& c = config;
    if (tensors.has("self_attn.k_b_proj.weight")) {
      VARVE_TRY(out.uk,
                tensors.per_head("self_attn.k_b_proj", c.n_heads, c.kv_lora_rank, c.nope_dim));
      VARVE_TRY(out.uv, tensors.per_head("self_attn.v_b_proj", c.n_heads, c.v_dim, c.kv_lora_rank));
      return {};
    }
    VARVE_TRY(
        const Weight kv_b,
        tensors.linear("self_attn.kv_b_proj", c.n_heads * (c.nope_dim + c.v_dim), c.kv_lora_rank));
    absorb(kv_b, out);
    return {};
  }

  Result<void> attention(LayerWeights& out) const {
    const Config& c = config;
    const int d = c.hidden_size, q_dim = c.n_heads * c.qk_dim();
    if (c.q_lora_rank == 0) {
      VARVE_TRY(out.wq, tensors.linear("self_attn.q_proj", q_dim, d));
    } else {
      VARVE_TRY(out.wq_a, tensors.linear("self_attn.q_a_proj", c.q_lora_rank, d));
      VARVE_TRY(out.q_norm, tensors.vector("self_attn.q_a_layernorm.weight", c.q_lora_rank));
      VARVE_TRY(out.wq_b, tensors.linear("self_attn.q_b_proj", q_dim, c.q_lora_rank));
    }
    VARVE_TRY(out.wkv_a, tensors.linear("self_attn.kv_a_proj_with_mqa", c.latent_dim(), d));
    VARVE_TRY(out.kv_norm, tensors.vector("self_attn.kv_a_layernorm.weight", c.kv_lora_rank));
    VARVE_CHECKED(up_projections(out));
    VARVE_TRY(out.wo, tensors.linear("self_attn.o_proj", d, c.n_heads * c.v_dim));
    if (c.index_n_heads == 0) return {};
    const std::string indexer = "self_attn.indexer.";
    VARVE_TRY(out.index_wq_b,
              tensors.linear(indexer + "wq_b", c.index_n_heads * c.index_head_dim, c.q_lora_rank));
    VARVE_TRY(out.index_wk, tensors.linear(indexer + "wk", c.index_head_dim, d));
    VARVE_TRY(out.index_k_norm, tensors.vector(indexer + "k_norm.weight", c.index_head_dim));
    VARVE_TRY(out.index_k_norm_bias, tensors.vector(indexer + "k_norm.bias", c.index_head_dim));
    VARVE_TRY(out.index_weights, tensors.linear(indexer + "weights_proj", c.index_n_heads, d));
    return {};
  }

  Result<void> experts(LayerWeights& out) const {
    const Config& c = config;
    VARVE_TRY(out.router, tensors.linear("mlp.gate", c.n_experts, c.hidden_size));
    out.router_bias.assign(static_cast<size_t>(c.n_experts), 0.0f);
    if (c.router.has_bias) {
      VARVE_TRY(out.router_bias, tensors.vector("mlp.gate.e_score_correction_bias", c.n_experts));
    }
    for (int e = 0; e < c.n_experts; ++e) {
      VARVE_TRY(ExpertWeights one,
                tensors.expert("mlp.experts.", e, c.n_experts, c.hidden_size, c.moe_dim));
      out.experts.push_back(one);
    }
    if (c.n_shared_experts == 0) return {};
    VARVE_TRY(ExpertWeights shared,
              tensors.mlp("mlp.shared_experts.", c.hidden_size, c.moe_dim * c.n_shared_experts));
    out.experts.push_back(shared);
    return {};
  }

  Result<LayerWeights> layer(bool dense) const {
    LayerWeights out;
    VARVE_TRY(out.attn_norm, tensors.vector("input_layernorm.weight", config.hidden_size));
    VARVE_TRY(out.ffn_norm, tensors.vector("post_attention_layernorm.weight", config.hidden_size));
    VARVE_CHECKED(attention(out));
    if (!dense) {
      VARVE_CHECKED(experts(out));
      return out;
    }
    VARVE_TRY(out.dense, tensors.mlp("mlp.", config.hidden_size, config.mlp_dim));
    return out;
  }
};

}  // namespace

Result<Weights> load_weights(const WeightLoader& tensors, const Config& config) {
  VARVE_TRY(DecoderWeights ends, load_decoder(tensors, config));
  Weights out{std::move(ends), {}};
  for (int l = 0; l < config.n_layers; ++l) {
    const Loader loader{tensors, {tensors, l}, config};
    VARVE_TRY(LayerWeights layer, loader.layer(l < config.n_dense_layers));
    out.layers.push_back(std::move(layer));
  }
  return out;
}

}  // namespace varve::mla
