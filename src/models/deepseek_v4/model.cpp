#include "models/deepseek_v4/model.h"

#include <algorithm>
#include <utility>

#include "models/config_fields.h"
#include "models/deepseek_v4/runner.h"

namespace varve::deepseek_v4 {

// What the kernels' fixed-size workspaces can hold.
Result<void> check_limits(const Config& c, const std::string& file) {
  return check_sizes(
      file,
      {{"hc_mult", c.hc_mult, kMaxStreams},
       {"hc_mult x hidden_size", int64_t{c.hc_mult} * c.hidden_size, kMaxColumns},
       {"num_attention_heads / o_groups x head_dim", int64_t{c.n_heads / c.o_groups} * c.head_dim,
        kMaxColumns},
       {"o_groups x o_lora_rank", int64_t{c.o_groups} * c.o_lora_rank, kMaxColumns},
       {"moe_intermediate_size x n_shared_experts",
        int64_t{c.moe_dim} * std::max(1, c.n_shared_experts), kMaxColumns},
       // A batch has at most 65,536 tokens; their (token, expert) and (token, head) pairs are ints.
       {"num_experts_per_tok", c.n_experts_used, 1024},
       {"index_n_heads", c.index_n_heads, 8192},
       {"q_lora_rank", c.q_lora_rank, kMaxColumns},
       {"head_dim", c.head_dim, kMaxHeadDim},
       {"index_head_dim", c.index_head_dim, kMaxHeadDim},
       {"qk_rope_head_dim", c.rope_dim, 1024}});
}

DeepseekV4::DeepseekV4(Config config, Checkpoint checkpoint, Weights weights)
    : Decoder(std::move(config), std::move(checkpoint), std::move(weights)),
      window_rope_(config_.rope_dim, config_.window_rope.theta, config_.window_rope.yarn),
      compress_rope_(config_.rope_dim, config_.compress_rope.theta, config_.compress_rope.yarn) {}

void DeepseekV4::visit_weights(const WeightVisitor& visit) const {
  for (const LayerWeights& w : weights_.layers) {
    for (const Weight* weight :
         {&w.attn_hc.fn, &w.ffn_hc.fn, &w.wq_a, &w.wq_b, &w.wkv, &w.wo_b, &w.compressor.kv,
          &w.compressor.gate, &w.index_wq_b, &w.index_weights, &w.index_compressor.kv,
          &w.index_compressor.gate, &w.router}) {
      if (weight->data != nullptr) visit(*weight, 1.0);
    }
    for (const Weight& group : w.wo_a) visit(group, 1.0);
    visit_experts(w.experts, visit);
  }
  visit(weights_.head_hc.fn, 1.0);
  visit(weights_.head, 1.0);
}

std::vector<PartCost> DeepseekV4::row_costs(const PoolFormats& formats, int begin, int end) const {
  using Unit = PartCost::Unit;
  const Config& c = config_;
  const auto unit = [](RowFormat format) {  // of attention: bf16 and native rows are bf16 numbers
    return format == RowFormat::bf16 || format == RowFormat::native ? Unit::products : Unit::f32;
  };
  PartCost window{.part = "window rows", .unit = unit(formats.window)};
  PartCost csa{.part = "CSA entries", .unit = unit(formats.csa)};
  PartCost hca{.part = "HCA entries", .unit = unit(formats.hca)};
  PartCost index{.part = "index keys",
                 .unit = formats.index == RowFormat::native ? Unit::int8 : Unit::f32};
  // A row multiplies every head twice: as key and as value.
  const auto attend = [&](PartCost& part, RowFormat format, int64_t n_read, int64_t n_met) {
    part.bytes += static_cast<double>(n_read) *
                  static_cast<double>(row_bytes(format, {c.head_dim, c.rope_dim, false}));
    part.macs += 2.0 * static_cast<double>(n_met) * c.n_heads * c.head_dim;
  };
  // The sum of f(t + 1) over the tokens t of the chunk: of rows that they see.
  const auto sum = [&](auto&& f) {
    int64_t total = 0;
    for (int t = begin; t < end; ++t) total += f(t + 1);
    return total;
  };
  for (const LayerConfig& layer : c.layers) {
    attend(window, formats.window, end - std::max(0, begin - c.window + 1),
           sum([&](int seen) { return std::min(c.window, seen); }));
    if (layer.attention == LayerKind::swa) continue;
    const int n_entries = end / layer.ratio;
    if (layer.attention == LayerKind::hca) {
      attend(hca, formats.hca, n_entries, sum([&](int seen) { return seen / layer.ratio; }));
      continue;
    }
    const int64_t n_picked =
        sum([&](int seen) { return std::min(c.index_topk, seen / layer.ratio); });
    attend(csa, formats.csa, std::min<int64_t>(n_entries, n_picked), n_picked);
    // While all are picked, none is scored.
    const int64_t n_scored =
        sum([&](int seen) { return seen / layer.ratio > c.index_topk ? seen / layer.ratio : 0; });
    if (n_scored == 0) continue;
    index.bytes += static_cast<double>(n_entries) *
                   static_cast<double>(row_bytes(formats.index, {c.index_head_dim, 0, true}));
    index.macs += static_cast<double>(n_scored) * c.index_n_heads * c.index_head_dim;
  }
  return {window, csa, hca, index};
}

size_t DeepseekV4::vector_bytes() const {
  size_t n = weights_.norm.size() + weights_.head_hc.base.size() + weights_.head_hc.scale.size();
  for (const LayerWeights& w : weights_.layers) {
    for (const std::vector<float>* v :
         {&w.attn_norm, &w.ffn_norm, &w.q_norm, &w.kv_norm, &w.sinks, &w.compressor.position_bias,
          &w.compressor.norm, &w.index_compressor.position_bias, &w.index_compressor.norm,
          &w.router_bias, &w.attn_hc.base, &w.attn_hc.scale, &w.ffn_hc.base, &w.ffn_hc.scale}) {
      n += v->size();
    }
    n += w.experts_by_id.size();
  }
  return n * 4;
}

std::unique_ptr<Runner> DeepseekV4::bind(ArenaBuilder& arena, Exec& exec,
                                         const RunnerOptions& options) const {
  return std::make_unique<ForwardPass>(*this, arena, exec, options);
}

}  // namespace varve::deepseek_v4
