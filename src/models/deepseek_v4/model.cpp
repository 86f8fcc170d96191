#include "models/deepseek_v4/model.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>

#include "base/mapped_file.h"
#include "models/deepseek_v4/runner.h"

namespace varve::deepseek_v4 {
namespace {

constexpr size_t kMaxConfigBytes = size_t{16} << 20;

// What the kernels' fixed-size workspaces can hold.
Result<void> check_limits(const Config& c, const std::string& file) {
  const auto refuse_above = [&](const char* what, int64_t value, int64_t limit) -> Result<void> {
    if (value <= limit) return {};
    return bad_input("{}: {} is {}; at most {} run here", file, what, value, limit);
  };
  VARVE_CHECKED(refuse_above("hc_mult", c.hc_mult, kMaxStreams));
  VARVE_CHECKED(refuse_above("hc_mult x hidden_size", int64_t{c.hc_mult} * int64_t{c.hidden_size},
                             kMaxColumns));
  VARVE_CHECKED(refuse_above("num_attention_heads / o_groups x head_dim",
                             int64_t{c.n_heads / c.o_groups} * c.head_dim, kMaxColumns));
  VARVE_CHECKED(
      refuse_above("o_groups x o_lora_rank", int64_t{c.o_groups} * c.o_lora_rank, kMaxColumns));
  VARVE_CHECKED(refuse_above("moe_intermediate_size x n_shared_experts",
                             int64_t{c.moe_dim} * std::max(1, c.n_shared_experts), kMaxColumns));
  // A batch has at most 65,536 tokens; their (token, expert) and (token, head) pairs are ints.
  VARVE_CHECKED(refuse_above("num_experts_per_tok", c.n_experts_used, 1024));
  VARVE_CHECKED(refuse_above("index_n_heads", c.index_n_heads, 8192));
  VARVE_CHECKED(refuse_above("q_lora_rank", c.q_lora_rank, kMaxColumns));
  VARVE_CHECKED(refuse_above("head_dim", c.head_dim, kMaxHeadDim));
  VARVE_CHECKED(refuse_above("index_head_dim", c.index_head_dim, kMaxHeadDim));
  VARVE_CHECKED(refuse_above("qk_rope_head_dim", c.rope_dim, 1024));
  return {};
}

}  // namespace

DeepseekV4::DeepseekV4(Config config, Checkpoint checkpoint, Weights weights)
    : config_(std::move(config)),
      checkpoint_(std::move(checkpoint)),
      weights_(std::move(weights)),
      window_rope_(config_.rope_dim, config_.window_rope.theta, config_.window_rope.yarn),
      compress_rope_(config_.rope_dim, config_.compress_rope.theta, config_.compress_rope.yarn) {}

template <class Visit>
void DeepseekV4::visit_weights(Visit visit) const {
  const Config& c = config_;
  visit(weights_.embed, 1.0 / c.vocab_size);
  for (const LayerWeights& w : weights_.layers) {
    visit(w.attn_hc.fn, 1.0);
    visit(w.ffn_hc.fn, 1.0);
    visit(w.wq_a, 1.0);
    visit(w.wq_b, 1.0);
    visit(w.wkv, 1.0);
    for (const Weight& group : w.wo_a) visit(group, 1.0);
    visit(w.wo_b, 1.0);
    for (const Weight* optional :
         {&w.compressor.kv, &w.compressor.gate, &w.index_wq_b, &w.index_weights,
          &w.index_compressor.kv, &w.index_compressor.gate}) {
      if (optional->data != nullptr) visit(*optional, 1.0);
    }
    visit(w.router, 1.0);
    for (size_t e = 0; e < w.experts.size(); ++e) {
      const bool routed = e < static_cast<size_t>(c.n_experts);
      const double share = routed ? static_cast<double>(c.n_experts_used) / c.n_experts : 1.0;
      visit(w.experts[e].gate, share);
      visit(w.experts[e].up, share);
      visit(w.experts[e].down, share);
    }
  }
  visit(weights_.head_hc.fn, 1.0);
  visit(weights_.head, 1.0);
}

size_t DeepseekV4::decode_weight_bytes() const {
  double bytes = 0;
  visit_weights(
      [&](const Weight& w, double share) { bytes += share * static_cast<double>(w.bytes()); });
  return static_cast<size_t>(bytes);
}

size_t DeepseekV4::decode_weight_macs() const {
  double macs = 0;
  visit_weights([&](const Weight& w, double share) {
    if (w.data == weights_.embed.data && share < 1) return;  // a look-up
    macs += share * static_cast<double>(w.n_rows) * static_cast<double>(w.n_cols);
  });
  return static_cast<size_t>(macs);
}

std::vector<PartCost> DeepseekV4::prefill_costs(const PoolFormats& formats, int depth, int n_tokens,
                                                int chunk_tokens) const {
  using Unit = PartCost::Unit;
  const Config& c = config_;
  const auto unit = [](RowFormat format) {  // of attention: bf16 and native rows are bf16 numbers
    return format == RowFormat::bf16 || format == RowFormat::native ? Unit::products : Unit::f32;
  };
  PartCost weights{.part = "weights"};
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
  // The sum of f(t + 1) over the tokens t of a chunk: of rows that they see.
  const auto sum = [](int begin, int end, auto&& f) {
    int64_t total = 0;
    for (int t = begin; t < end; ++t) total += f(t + 1);
    return total;
  };
  for (int begin = depth; begin < depth + n_tokens; begin += chunk_tokens) {
    const int end = std::min(begin + chunk_tokens, depth + n_tokens);
    const int n = end - begin;
    visit_weights([&](const Weight& w, double share) {
      const bool head = &w == &weights_.head;
      if (head && end < depth + n_tokens) return;
      weights.bytes += (1 - std::pow(1 - share, n)) * static_cast<double>(w.bytes());
      if (&w == &weights_.embed) return;  // a look-up
      weights.macs +=
          share * (head ? 1 : n) * static_cast<double>(w.n_rows) * static_cast<double>(w.n_cols);
    });
    for (const LayerConfig& layer : c.layers) {
      attend(window, formats.window, end - std::max(0, begin - c.window + 1),
             sum(begin, end, [&](int seen) { return std::min(c.window, seen); }));
      if (layer.attention == LayerKind::swa) continue;
      const int n_entries = end / layer.ratio;
      if (layer.attention == LayerKind::hca) {
        attend(hca, formats.hca, n_entries,
               sum(begin, end, [&](int seen) { return seen / layer.ratio; }));
        continue;
      }
      const int64_t n_picked =
          sum(begin, end, [&](int seen) { return std::min(c.index_topk, seen / layer.ratio); });
      attend(csa, formats.csa, std::min<int64_t>(n_entries, n_picked), n_picked);
      // While all are picked, none is scored.
      const int64_t n_scored = sum(begin, end, [&](int seen) {
        return seen / layer.ratio > c.index_topk ? seen / layer.ratio : 0;
      });
      if (n_scored == 0) continue;
      index.bytes += static_cast<double>(n_entries) *
                     static_cast<double>(row_bytes(formats.index, {c.index_head_dim, 0, true}));
      index.macs += static_cast<double>(n_scored) * c.index_n_heads * c.index_head_dim;
    }
  }
  std::vector<PartCost> costs = {weights, window, csa, index, hca};
  for (PartCost& cost : costs) {
    cost.bytes /= n_tokens;
    cost.macs /= n_tokens;
  }
  return costs;
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

Result<Config> load_config(const std::string& file) {
  VARVE_TRY(const std::string text, read_text_file(file, kMaxConfigBytes));
  VARVE_TRY(Config config, parse_config(text, file));
  VARVE_CHECKED(check_limits(config, file));
  return config;
}

Result<std::unique_ptr<DeepseekV4>> load(const std::string& path) {
  VARVE_TRY(Config config, load_config((std::filesystem::path(path) / "config.json").string()));
  VARVE_TRY(Checkpoint checkpoint, Checkpoint::open(path));
  VARVE_TRY(Weights weights, load_weights(checkpoint, config));
  return std::make_unique<DeepseekV4>(std::move(config), std::move(checkpoint), std::move(weights));
}

}  // namespace varve::deepseek_v4
