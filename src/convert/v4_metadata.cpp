#include "convert/v4_metadata.h"

#include <array>
#include <string_view>
#include <vector>

namespace varve {
namespace {

using deepseek_v4::Config;
using deepseek_v4::LayerConfig;

constexpr uint32_t kSqrtSoftplusGating = 4;
constexpr int kCsaRatio = 4, kHcaRatio = 128;

uint32_t u32(int value) {
  return static_cast<uint32_t>(value);
}

// Readers know a layer's attention by its ratio alone.
Result<std::vector<uint32_t>> compress_ratios(const Config& config, const std::string& file) {
  std::vector<uint32_t> ratios;
  for (size_t i = 0; i < config.layers.size(); ++i) {
    const LayerConfig& layer = config.layers[i];
    const bool is_csa = layer.attention == LayerKind::csa;
    if (layer.attention != LayerKind::swa && layer.ratio != (is_csa ? kCsaRatio : kHcaRatio)) {
      return bad_input(
          "{}: layer {}: expected {} tokens per entry, as GGUF has it for {}, found {}", file, i,
          is_csa ? kCsaRatio : kHcaRatio, is_csa ? "CSA" : "HCA", layer.ratio);
    }
    ratios.push_back(u32(layer.ratio));
  }
  return ratios;
}

Result<uint32_t> n_hash_layers(const Config& config, const std::string& file) {
  size_t n = 0;
  while (n < config.layers.size() && config.layers[n].hash_routed) ++n;
  for (size_t i = n; i < config.layers.size(); ++i) {
    if (!config.layers[i].hash_routed) continue;
    return bad_input(
        "{}: layer {}: expected routing by score behind layer {}, as GGUF has it, found hash "
        "routing",
        file, i, n);
  }
  return static_cast<uint32_t>(n);
}

// Adds keys behind "deepseek4.".
class Adder {
 public:
  explicit Adder(GgufEntries& entries) : entries_(entries) {}
  template <class T>
  void operator()(std::string_view key, const T& value) {
    entries_.add(fmt::format("deepseek4.{}", key), value);
  }

 private:
  GgufEntries& entries_;
};

void add_sizes(const Config& c, Adder& add) {
  add("vocab_size", u32(c.vocab_size));
  add("context_length", u32(c.max_position));
  add("embedding_length", u32(c.hidden_size));
  add("embedding_length_out", u32(c.hidden_size * c.hc_mult));
  add("block_count", u32(c.n_layers));
  add("hyper_connection.count", u32(c.hc_mult));
  add("hyper_connection.sinkhorn_iterations", u32(c.hc_iters));
  add("hyper_connection.epsilon", c.hc_eps);
}

void add_attention(const Config& c, Adder& add) {
  add("attention.head_count", u32(c.n_heads));
  add("attention.head_count_kv", 1u);
  add("attention.key_length", u32(c.head_dim));
  add("attention.value_length", u32(c.head_dim));
  add("attention.q_lora_rank", u32(c.q_lora_rank));
  add("attention.output_group_count", u32(c.o_groups));
  add("attention.output_lora_rank", u32(c.o_lora_rank));
  add("attention.sliding_window", u32(c.window));
  add("attention.layer_norm_rms_epsilon", c.rms_eps);
  add("attention.indexer.head_count", u32(c.index_n_heads));
  add("attention.indexer.key_length", u32(c.index_head_dim));
  add("attention.indexer.top_k", u32(c.index_topk));
}

void add_rope(const Config& c, Adder& add) {
  add("rope.dimension_count", u32(c.rope_dim));
  add("rope.freq_base", static_cast<float>(c.window_rope.theta));
  add("attention.compress_rope_freq_base", static_cast<float>(c.compress_rope.theta));
  const YarnScaling& yarn = c.compress_rope.yarn;
  if (yarn.factor == 1) return;
  add("rope.scaling.type", "yarn");
  add("rope.scaling.factor", static_cast<float>(yarn.factor));
  add("rope.scaling.original_context_length", u32(yarn.original_max_position));
  add("rope.scaling.yarn_beta_fast", static_cast<float>(yarn.beta_fast));
  add("rope.scaling.yarn_beta_slow", static_cast<float>(yarn.beta_slow));
}

void add_experts(const Config& c, Adder& add) {
  add("expert_count", u32(c.n_experts));
  add("expert_used_count", u32(c.n_experts_used));
  add("expert_shared_count", u32(c.n_shared_experts));
  add("expert_feed_forward_length", u32(c.moe_dim));
  add("expert_weights_scale", c.route_scale);
  add("expert_weights_norm", c.norm_topk_prob);
  add("expert_gating_func", kSqrtSoftplusGating);
  const std::vector<float> limits(c.layers.size(), c.swiglu_limit);
  add("swiglu_clamp_exp", limits);
  add("swiglu_clamp_shexp", limits);
}

Result<void> add_special_ids(const Config& c, const std::string& file, GgufEntries& entries) {
  constexpr std::array<std::string_view, 3> kEnds = {"eos_token_id", "eot_token_id",
                                                     "eom_token_id"};
  if (c.eos_ids.size() > kEnds.size()) {
    return bad_input(
        "{}: field `eos_token_id`: expected at most {} ids, as GGUF has keys, found {}", file,
        kEnds.size(), c.eos_ids.size());
  }
  if (c.bos_id >= 0) entries.add("tokenizer.ggml.bos_token_id", u32(c.bos_id));
  for (size_t i = 0; i < c.eos_ids.size(); ++i) {
    entries.add(fmt::format("tokenizer.ggml.{}", kEnds[i]), u32(c.eos_ids[i]));
  }
  return {};
}

}  // namespace

Result<void> add_v4_metadata(const Config& config, const std::string& file,
                             const std::string& model_name, GgufEntries& entries) {
  VARVE_TRY(const std::vector<uint32_t> ratios, compress_ratios(config, file));
  VARVE_TRY(const uint32_t n_hash, n_hash_layers(config, file));
  entries.add("general.architecture", "deepseek4");
  entries.add("general.name", model_name);
  Adder add(entries);
  add_sizes(config, add);
  add_attention(config, add);
  add("attention.compress_ratios", ratios);
  add_rope(config, add);
  add_experts(config, add);
  add("hash_layer_count", n_hash);
  return add_special_ids(config, file, entries);
}

}  // namespace varve
