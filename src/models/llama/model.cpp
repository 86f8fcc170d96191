#include "models/llama/model.h"

#include <algorithm>

#include "models/config_fields.h"
#include "models/llama/runner.h"
#include "tensor/groups.h"

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
  // Rows of both sides have to be such as dots take.
  const auto is_group = [](RowFormat f) { return group_format(f) != nullptr; };
  const auto has_dots = [&](RowFormat f) {
    return f == RowFormat::bf16 || f == RowFormat::fp8 || is_group(f);
  };
  const bool dots = has_dots(formats.k) && has_dots(formats.v);
  const auto part = [&](std::string_view name, RowFormat f) {
    return PartCost{.part = name,
                    .unit = !dots         ? Unit::f32
                            : is_group(f) ? Unit::int8
                                          : Unit::products};
  };
  PartCost keys = part("keys", formats.k);
  PartCost values = part("values", formats.v);
  const auto bytes_per_product = [&](const PartCost& cost) {
    return cost.unit == Unit::int8 ? 2.0 : 1.0;  // a high and a low byte
  };
  const RowShape row{c.head_dim, 0, false};
  for (const int window : c.windows) {
    const auto seen = [&](int t) { return window == 0 ? t + 1 : std::min(window, t + 1); };
    const int first = window == 0 ? 0 : std::max(0, begin - window + 1);
    double met = 0;
    for (int t = begin; t < end; ++t) met += seen(t);
    met *= static_cast<double>(c.n_heads) * c.head_dim;
    keys.bytes += c.n_kv_heads * seen_row_bytes(formats, Pool::k, row, first, begin, end);
    values.bytes += c.n_kv_heads * seen_row_bytes(formats, Pool::v, row, first, begin, end);
    keys.macs += met * bytes_per_product(keys);
    values.macs += met * bytes_per_product(values);
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
