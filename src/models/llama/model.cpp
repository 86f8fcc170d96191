#include "models/llama/model.h"

#include <algorithm>

#include "models/config_fields.h"
#include "models/llama/runner.h"

namespace varve::llama {

// What the kernels' fixed-size workspaces can hold.
Result<void> check_limits(const Config& c, const std::string& file) {
  return check_sizes(
      file, {{"hidden_size", c.hidden_size, kMaxColumns},
             {"intermediate_size", c.mlp_dim, kMaxColumns},
             {"num_attention_heads x head_dim", int64_t{c.n_heads} * c.head_dim, kMaxColumns},
             {"head_dim", c.head_dim, kMaxHeadDim}});
}

void Llama::visit_weights(const WeightVisitor& visit) const {
  for (const LayerWeights& w : weights_.layers) {
    for (const Weight* weight : {&w.wq, &w.wk, &w.wv, &w.wo, &w.mlp.gate, &w.mlp.up, &w.mlp.down}) {
      visit(*weight, 1.0);
    }
  }
  visit(weights_.head, 1.0);
}

std::vector<PartCost> Llama::row_costs(const PoolFormats& formats, int begin, int end) const {
  using Unit = PartCost::Unit;
  const Config& c = config_;
  // Dots take keys and values that are both bf16.
  const bool dots = formats.k == RowFormat::bf16 && formats.v == RowFormat::bf16;
  const Unit unit = dots ? Unit::products : Unit::f32;
  PartCost keys{.part = "keys", .unit = unit};
  PartCost values{.part = "values", .unit = unit};
  const RowShape row{c.head_dim, 0, false};
  for (const int window : c.windows) {
    const auto seen = [&](int t) { return window == 0 ? t + 1 : std::min(window, t + 1); };
    const double read = window == 0 ? end : end - std::max(0, begin - window + 1);
    double met = 0;
    for (int t = begin; t < end; ++t) met += seen(t);
    keys.bytes += read * c.n_kv_heads * static_cast<double>(row_bytes(formats.k, row));
    values.bytes += read * c.n_kv_heads * static_cast<double>(row_bytes(formats.v, row));
    keys.macs += met * c.n_heads * c.head_dim;
    values.macs += met * c.n_heads * c.head_dim;
  }
  return {keys, values};
}

size_t Llama::vector_bytes() const {
  size_t n = weights_.norm.size();
  for (const LayerWeights& w : weights_.layers) {
    for (const std::vector<float>* v :
         {&w.attn_norm, &w.ffn_norm, &w.bq, &w.bk, &w.bv, &w.bo, &w.q_norm, &w.k_norm,
          &w.mlp_bias.gate, &w.mlp_bias.up, &w.mlp_bias.down}) {
      n += v->size();
    }
  }
  return n * sizeof(float);
}

std::unique_ptr<Runner> Llama::bind(ArenaBuilder& arena, Exec& exec,
                                    const RunnerOptions& options) const {
  return std::make_unique<ForwardPass>(*this, arena, exec, options);
}

}  // namespace varve::llama
