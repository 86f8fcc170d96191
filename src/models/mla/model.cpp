#include "models/mla/model.h"

#include <algorithm>

#include "models/config_fields.h"
#include "models/mla/runner.h"

namespace varve::mla {

// What the kernels' fixed-size workspaces can hold.
Result<void> check_limits(const Config& c, const std::string& file) {
  return check_sizes(
      file,
      {{"hidden_size", c.hidden_size, kMaxColumns},
       {"intermediate_size", c.mlp_dim, kMaxColumns},
       {"q_lora_rank", c.q_lora_rank, kMaxColumns},
       {"qk_nope_head_dim", c.nope_dim, kMaxColumns},
       {"num_attention_heads x v_head_dim", int64_t{c.n_heads} * c.v_dim, kMaxColumns},
       {"moe_intermediate_size x n_shared_experts",
        int64_t{c.moe_dim} * std::max(1, c.n_shared_experts), kMaxColumns},
       {"kv_lora_rank + qk_rope_head_dim", c.latent_dim(), kMaxHeadDim},
       {"index_head_dim", c.index_head_dim, kMaxHeadDim},
       {"index_n_heads", c.index_n_heads, 8192},
       // A batch has at most 65,536 tokens; their (token, expert) and (token, head) pairs are ints.
       {"num_experts_per_tok", c.n_experts_used, 1024},
       {"num_attention_heads", c.n_heads, 8192}});
}

void Mla::visit_weights(const WeightVisitor& visit) const {
  for (const LayerWeights& w : weights_.layers) {
    for (const Weight* weight :
         {&w.wq, &w.wq_a, &w.wq_b, &w.wkv_a, &w.wo, &w.index_wq_b, &w.index_wk, &w.index_weights,
          &w.router, &w.dense.gate, &w.dense.up, &w.dense.down}) {
      if (weight->data != nullptr) visit(*weight, 1.0);
    }
    for (const Weight& head : w.uk) visit(head, 1.0);
    for (const Weight& head : w.uv) visit(head, 1.0);
    visit_experts(w.experts, visit);
  }
  visit(weights_.head, 1.0);
}

std::vector<PartCost> Mla::row_costs(const PoolFormats& formats, int begin, int end) const {
  using Unit = PartCost::Unit;
  const Config& c = config_;
  const bool dots = formats.latent != RowFormat::f32 && formats.latent != RowFormat::f16;
  PartCost latent{.part = "latent rows", .unit = dots ? Unit::products : Unit::f32};
  PartCost index{.part = "index keys",
                 .unit = formats.index == RowFormat::native ? Unit::int8 : Unit::f32};
  double met = 0, scored = 0;
  for (int t = begin; t < end; ++t) {
    const bool picks = c.index_n_heads > 0 && t + 1 > c.index_topk;
    met += picks ? c.index_topk : t + 1;
    scored += picks ? t + 1 : 0;
  }
  // A row meets every head twice: as key and as value.
  const int first =
      end - static_cast<int>(std::min<double>(end, met));  // as if picks were the newest
  latent.bytes =
      c.n_layers *
      seen_row_bytes(formats, Pool::latent, {c.latent_dim(), c.rope_dim, false}, first, begin, end);
  latent.macs = 2.0 * c.n_layers * met * c.n_heads * c.latent_dim();
  if (scored == 0) return {latent, index};
  index.bytes = c.n_layers * static_cast<double>(end) *
                static_cast<double>(row_bytes(formats.index, {c.index_head_dim, 0, true}));
  index.macs = c.n_layers * scored * c.index_n_heads * c.index_head_dim;
  return {latent, index};
}

size_t Mla::vector_bytes() const {
  size_t bytes = weights_.norm.size() * sizeof(float);
  for (const LayerWeights& w : weights_.layers) {
    for (const std::vector<float>* v : {&w.attn_norm, &w.ffn_norm, &w.q_norm, &w.kv_norm,
                                        &w.index_k_norm, &w.index_k_norm_bias, &w.router_bias}) {
      bytes += v->size() * sizeof(float);
    }
    if (!w.absorbed) continue;
    for (const Weight& head : w.uk) bytes += head.bytes();
  }
  return bytes;
}

// What was absorbed is stored as the key rows of kv_b, beside those of the values.
size_t Mla::matrix_bytes() const {
  size_t bytes = Decoder::matrix_bytes();
  for (const LayerWeights& w : weights_.layers) {
    if (!w.absorbed) continue;
    for (const Weight& head : w.uk) bytes -= head.bytes();
    Weight keys = w.uv.front();
    keys.n_rows = config_.n_heads * config_.nope_dim;
    bytes += keys.bytes();
  }
  return bytes;
}

std::unique_ptr<Runner> Mla::bind(ArenaBuilder& arena, Exec& exec,
                                  const RunnerOptions& options) const {
  return std::make_unique<ForwardPass>(*this, arena, exec, options);
}

}  // namespace varve::mla
