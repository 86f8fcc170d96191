#include "models/llama/model.h"

#include <algorithm>
#include <filesystem>

#include "models/llama/runner.h"

namespace varve::llama {
namespace {

// What the kernels' fixed-size workspaces can hold.
Result<void> check_limits(const Config& c, const std::string& file) {
  const auto refuse_above = [&](const char* what, int64_t value, int64_t limit) -> Result<void> {
    if (value <= limit) return {};
    return bad_input("{}: {} is {}; at most {} run here", file, what, value, limit);
  };
  VARVE_CHECKED(refuse_above("hidden_size", c.hidden_size, kMaxColumns));
  VARVE_CHECKED(refuse_above("intermediate_size", c.mlp_dim, kMaxColumns));
  VARVE_CHECKED(
      refuse_above("num_attention_heads x head_dim", int64_t{c.n_heads} * c.head_dim, kMaxColumns));
  VARVE_CHECKED(refuse_above("head_dim", c.head_dim, kMaxHeadDim));
  return {};
}

}  // namespace

template <class Visit>
void Llama::visit_weights(Visit visit) const {
  for (const LayerWeights& w : weights_.layers) {
    for (const Weight* weight : {&w.wq, &w.wk, &w.wv, &w.wo, &w.gate, &w.up, &w.down}) {
      visit(*weight);
    }
  }
  visit(weights_.head);
}

size_t Llama::decode_weight_bytes() const {
  size_t bytes = weights_.embed.bytes() / static_cast<size_t>(config_.vocab_size);
  visit_weights([&](const Weight& w) { bytes += w.bytes(); });
  return bytes;
}

size_t Llama::decode_weight_macs() const {
  size_t macs = 0;
  visit_weights([&](const Weight& w) {
    macs += static_cast<size_t>(w.n_rows) * static_cast<size_t>(w.n_cols);
  });
  return macs;
}

std::vector<PartCost> Llama::prefill_costs(const PoolFormats& formats, int depth, int n_tokens,
                                           int chunk_tokens) const {
  using Unit = PartCost::Unit;
  const Config& c = config_;
  // Dots take keys and values that are both bf16.
  const bool dots = formats.k == RowFormat::bf16 && formats.v == RowFormat::bf16;
  const Unit unit = dots ? Unit::products : Unit::f32;
  PartCost weights{.part = "weights"};
  PartCost keys{.part = "keys", .unit = unit};
  PartCost values{.part = "values", .unit = unit};
  const RowShape row{c.head_dim, 0, false};
  for (int begin = depth; begin < depth + n_tokens; begin += chunk_tokens) {
    const int end = std::min(begin + chunk_tokens, depth + n_tokens);
    const int n = end - begin;
    const bool last = end == depth + n_tokens;
    const double embed_rows = std::min(n, c.vocab_size);
    weights.bytes += embed_rows * static_cast<double>(weights_.embed.bytes()) / c.vocab_size;
    visit_weights([&](const Weight& w) {
      const bool head = &w == &weights_.head;
      if (head && !last) return;
      weights.bytes += static_cast<double>(w.bytes());
      weights.macs += (head ? 1.0 : n) * static_cast<double>(w.n_rows) * w.n_cols;
    });
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
  }
  std::vector<PartCost> costs = {weights, keys, values};
  for (PartCost& cost : costs) {
    cost.bytes /= n_tokens;
    cost.macs /= n_tokens;
  }
  return costs;
}

size_t Llama::vector_bytes() const {
  size_t n = weights_.norm.size();
  for (const LayerWeights& w : weights_.layers) {
    for (const std::vector<float>* v :
         {&w.attn_norm, &w.ffn_norm, &w.bq, &w.bk, &w.bv, &w.bo, &w.q_norm, &w.k_norm, &w.gate_bias,
          &w.up_bias, &w.down_bias}) {
      n += v->size();
    }
  }
  return n * sizeof(float);
}

std::unique_ptr<Runner> Llama::bind(ArenaBuilder& arena, Exec& exec,
                                    const RunnerOptions& options) const {
  return std::make_unique<ForwardPass>(*this, arena, exec, options);
}

Result<Config> load_config(const std::string& file) {
  VARVE_TRY(const JsonObject root, JsonObject::read(file));
  VARVE_TRY(Config config, parse_config(root));
  VARVE_CHECKED(check_limits(config, file));
  return config;
}

Result<std::unique_ptr<Llama>> load(const std::string& path) {
  VARVE_TRY(Config config, load_config((std::filesystem::path(path) / "config.json").string()));
  VARVE_TRY(Checkpoint checkpoint, Checkpoint::open(path));
  VARVE_TRY(Weights weights, load_weights(checkpoint, config));
  return std::make_unique<Llama>(std::move(config), std::move(checkpoint), std::move(weights));
}

}  // namespace varve::llama
