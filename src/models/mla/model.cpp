#include "models/mla/model.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "models/mla/runner.h"

namespace varve::mla {
namespace {

// What the kernels' fixed-size workspaces can hold.
Result<void> check_limits(const Config& c, const std::string& file) {
  const auto refuse_above = [&](const char* what, int64_t value, int64_t limit) -> Result<void> {
    if (value <= limit) return {};
    return bad_input("{}: {} is {}; at most {} run here", file, what, value, limit);
  };
  VARVE_CHECKED(refuse_above("hidden_size", c.hidden_size, kMaxColumns));
  VARVE_CHECKED(refuse_above("intermediate_size", c.mlp_dim, kMaxColumns));
  VARVE_CHECKED(refuse_above("q_lora_rank", c.q_lora_rank, kMaxColumns));
  VARVE_CHECKED(refuse_above("qk_nope_head_dim", c.nope_dim, kMaxColumns));
  VARVE_CHECKED(
      refuse_above("num_attention_heads x v_head_dim", int64_t{c.n_heads} * c.v_dim, kMaxColumns));
  VARVE_CHECKED(refuse_above("moe_intermediate_size x n_shared_experts",
                             int64_t{c.moe_dim} * std::max(1, c.n_shared_experts), kMaxColumns));
  VARVE_CHECKED(refuse_above("kv_lora_rank + qk_rope_head_dim", c.latent_dim(), kMaxHeadDim));
  VARVE_CHECKED(refuse_above("index_head_dim", c.index_head_dim, kMaxHeadDim));
  VARVE_CHECKED(refuse_above("index_n_heads", c.index_n_heads, 8192));
  // A batch has at most 65,536 tokens; their (token, expert) and (token, head) pairs are ints.
  VARVE_CHECKED(refuse_above("num_experts_per_tok", c.n_experts_used, 1024));
  VARVE_CHECKED(refuse_above("num_attention_heads", c.n_heads, 8192));
  return {};
}

}  // namespace

template <class Visit>
void Mla::visit_weights(Visit visit) const {
  const Config& c = config_;
  for (const LayerWeights& w : weights_.layers) {
    for (const Weight* weight :
         {&w.wq, &w.wq_a, &w.wq_b, &w.wkv_a, &w.wo, &w.index_wq_b, &w.index_wk, &w.index_weights,
          &w.router, &w.dense.gate, &w.dense.up, &w.dense.down}) {
      if (weight->data != nullptr) visit(*weight, 1.0);
    }
    for (const Weight& head : w.uk) visit(head, 1.0);
    for (const Weight& head : w.uv) visit(head, 1.0);
    for (size_t e = 0; e < w.experts.size(); ++e) {
      const bool routed = e < static_cast<size_t>(c.n_experts);
      const double share = routed ? static_cast<double>(c.n_experts_used) / c.n_experts : 1.0;
      visit(w.experts[e].gate, share);
      visit(w.experts[e].up, share);
      visit(w.experts[e].down, share);
    }
  }
  visit(weights_.head, 1.0);
}

size_t Mla::decode_weight_bytes() const {
  double bytes = static_cast<double>(weights_.embed.bytes()) / config_.vocab_size;
  visit_weights(
      [&](const Weight& w, double share) { bytes += share * static_cast<double>(w.bytes()); });
  return static_cast<size_t>(bytes);
}

size_t Mla::decode_weight_macs() const {
  double macs = 0;
  visit_weights([&](const Weight& w, double share) {
    macs += share * static_cast<double>(w.n_rows) * static_cast<double>(w.n_cols);
  });
  return static_cast<size_t>(macs);
}

std::vector<PartCost> Mla::prefill_costs(const PoolFormats& formats, int depth, int n_tokens,
                                         int chunk_tokens) const {
  using Unit = PartCost::Unit;
  const Config& c = config_;
  const bool dots = formats.latent == RowFormat::bf16 || formats.latent == RowFormat::native;
  PartCost weights{.part = "weights"};
  PartCost latent{.part = "latent rows", .unit = dots ? Unit::products : Unit::f32};
  PartCost index{.part = "index keys",
                 .unit = formats.index == RowFormat::native ? Unit::int8 : Unit::f32};
  const double row =
      static_cast<double>(row_bytes(formats.latent, {c.latent_dim(), c.rope_dim, false}));
  for (int begin = depth; begin < depth + n_tokens; begin += chunk_tokens) {
    const int end = std::min(begin + chunk_tokens, depth + n_tokens);
    const int n = end - begin;
    weights.bytes +=
        std::min(n, c.vocab_size) * static_cast<double>(weights_.embed.bytes()) / c.vocab_size;
    visit_weights([&](const Weight& w, double share) {
      const bool head = &w == &weights_.head;
      if (head && end < depth + n_tokens) return;
      weights.bytes += (1 - std::pow(1 - share, n)) * static_cast<double>(w.bytes());
      weights.macs += share * (head ? 1 : n) * static_cast<double>(w.n_rows) * w.n_cols;
    });
    double met = 0, scored = 0;
    for (int t = begin; t < end; ++t) {
      const bool picks = c.index_n_heads > 0 && t + 1 > c.index_topk;
      met += picks ? c.index_topk : t + 1;
      scored += picks ? t + 1 : 0;
    }
    // A row meets every head twice: as key and as value.
    latent.bytes += c.n_layers * std::min<double>(end, met) * row;
    latent.macs += 2.0 * c.n_layers * met * c.n_heads * c.latent_dim();
    if (scored == 0) continue;
    index.bytes += c.n_layers * static_cast<double>(end) *
                   static_cast<double>(row_bytes(formats.index, {c.index_head_dim, 0, true}));
    index.macs += c.n_layers * scored * c.index_n_heads * c.index_head_dim;
  }
  std::vector<PartCost> costs = {weights, latent, index};
  for (PartCost& cost : costs) {
    cost.bytes /= n_tokens;
    cost.macs /= n_tokens;
  }
  return costs;
}

size_t Mla::vector_bytes() const {
  size_t bytes = weights_.norm.size() * sizeof(float);
  for (const LayerWeights& w : weights_.layers) {
    for (const std::vector<float>* v : {&w.attn_norm, &w.ffn_norm, &w.q_norm, &w.kv_norm,
                                        &w.index_k_norm, &w.index_k_norm_bias, &w.router_bias}) {
      bytes += v->size() * sizeof(float);
    }
    bytes += w.uk_memory.size();
  }
  return bytes;
}

std::unique_ptr<Runner> Mla::bind(ArenaBuilder& arena, Exec& exec,
                                  const RunnerOptions& options) const {
  return std::make_unique<ForwardPass>(*this, arena, exec, options);
}

Result<Config> load_config(const std::string& file) {
  VARVE_TRY(const JsonObject root, JsonObject::read(file));
  VARVE_TRY(Config config, parse_config(root));
  VARVE_CHECKED(check_limits(config, file));
  return config;
}

Result<std::unique_ptr<Mla>> load(const std::string& path) {
  VARVE_TRY(Config config, load_config((std::filesystem::path(path) / "config.json").string()));
  VARVE_TRY(Checkpoint checkpoint, Checkpoint::open(path));
  VARVE_TRY(Weights weights, load_weights(checkpoint, config));
  return std::make_unique<Mla>(std::move(config), std::move(checkpoint), std::move(weights));
}

}  // namespace varve::mla
