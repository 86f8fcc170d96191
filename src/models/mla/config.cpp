#include "models/mla/config.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "models/config_fields.h"

namespace varve::mla {
namespace {

// 0.1 mscale ln(factor) + 1, as YaRN has it.
double yarn_amplitude(double factor, double mscale) {
  return factor <= 1 ? 1 : 0.1 * mscale * std::log(factor) + 1;
}

// What Transformers takes a missing field of V3 and V3.2 for. Sizes have to be given, and V2's
// `eos_token_id`, in which DeepSeek's own code differs.
constexpr int kEosId = 1;
constexpr int kDenseLayers = 3;
constexpr double kRoutedScale = 2.5;

class ConfigReader {
 public:
  explicit ConfigReader(const JsonObject& root) : root_(root) {}

  Result<Config> read() {
    VARVE_CHECKED(read_decoder_fields(root_, kModelTypes, c_));
    VARVE_CHECKED(read_special_ids(root_, is_v2() ? std::nullopt : std::optional(kEosId), c_));
    VARVE_CHECKED(read_int(root_, "intermediate_size", c_.mlp_dim));
    VARVE_CHECKED(read_attention());
    VARVE_CHECKED(read_experts());
    VARVE_CHECKED(read_router());
    VARVE_CHECKED(read_rope());
    return std::move(c_);
  }

 private:
  bool is_v2() const { return c_.model_type == "deepseek_v2"; }

  Result<void> read_attention() {
    VARVE_TRY(const bool bias, root_.boolean_or("attention_bias", false));
    if (bias) return root_.wrong("attention_bias", "false");
    VARVE_CHECKED(read_int(root_, "num_attention_heads", c_.n_heads));
    VARVE_CHECKED(read_int_or_null(root_, "q_lora_rank", c_.q_lora_rank));
    VARVE_CHECKED(read_int(root_, "kv_lora_rank", c_.kv_lora_rank));
    VARVE_CHECKED(read_int(root_, "qk_nope_head_dim", c_.nope_dim));
    VARVE_CHECKED(read_int(root_, "qk_rope_head_dim", c_.rope_dim));
    VARVE_CHECKED(read_int(root_, "v_head_dim", c_.v_dim));
    if (c_.rope_dim % 2 != 0) return root_.wrong("qk_rope_head_dim", "an even number");
    const int64_t widest = std::max({c_.qk_dim(), c_.latent_dim(), c_.nope_dim + c_.v_dim});
    if (c_.n_heads * widest > kMaxProduct) {
      return root_.wrong("num_attention_heads", fmt::format("at most {}", kMaxProduct / widest));
    }
    if (c_.model_type != "deepseek_v32") return {};
    if (c_.q_lora_rank == 0) return root_.wrong("q_lora_rank", "a number: the indexer reads it");
    VARVE_CHECKED(read_int(root_, "index_n_heads", c_.index_n_heads));
    VARVE_CHECKED(read_int(root_, "index_head_dim", c_.index_head_dim));
    VARVE_CHECKED(read_int(root_, "index_topk", c_.index_topk));
    if (c_.index_head_dim < c_.rope_dim) {
      return root_.wrong("index_head_dim",
                         fmt::format("at least qk_rope_head_dim, {}", c_.rope_dim));
    }
    if (int64_t{c_.index_n_heads} * c_.index_head_dim > kMaxProduct) {
      return root_.wrong("index_n_heads", fmt::format("at most {} / index_head_dim", kMaxProduct));
    }
    return {};
  }

  Result<void> read_experts() {
    VARVE_CHECKED(read_int_or_null(root_, "n_routed_experts", c_.n_experts, 1 << 16));
    VARVE_CHECKED(read_int_or(root_, "first_k_dense_replace", c_.n_dense_layers,
                              is_v2() ? 0 : kDenseLayers, {0, kMaxLayers}));
    if (c_.n_experts == 0 || c_.n_dense_layers >= c_.n_layers) {
      c_.n_experts = 0;
      c_.n_dense_layers = c_.n_layers;
      return {};
    }
    VARVE_CHECKED(read_int(root_, "num_experts_per_tok", c_.n_experts_used, {1, c_.n_experts}));
    VARVE_CHECKED(read_int(root_, "moe_intermediate_size", c_.moe_dim));
    VARVE_CHECKED(read_int_or_null(root_, "n_shared_experts", c_.n_shared_experts, 1024));
    if (int64_t{c_.moe_dim} * std::max(1, c_.n_shared_experts) > kMaxProduct) {
      return root_.wrong("n_shared_experts",
                         fmt::format("at most {} / moe_intermediate_size", kMaxProduct));
    }
    VARVE_TRY(const int64_t every, root_.integer_or("moe_layer_freq", 1));
    if (every != 1) return root_.wrong("moe_layer_freq", "1");
    return {};
  }

  Result<void> read_router() {
    if (c_.n_experts == 0) return {};
    RouterConfig& r = c_.router;
    const bool v2 = is_v2();
    VARVE_TRY(const std::string scoring,
              root_.string_or("scoring_func", v2 ? "softmax" : "sigmoid"));
    if (scoring != "softmax" && scoring != "sigmoid") {
      return root_.wrong("scoring_func", "softmax or sigmoid");
    }
    r.sigmoid = scoring == "sigmoid";
    VARVE_TRY(const std::string method, root_.string_or("topk_method", v2 ? "greedy" : "noaux_tc"));
    const bool groups = method == "group_limited_greedy" || method == "noaux_tc";
    if (!groups && method != "greedy") {
      return root_.wrong("topk_method", "greedy, group_limited_greedy or noaux_tc");
    }
    r.has_bias = method == "noaux_tc";
    r.best_of_group = r.has_bias ? 2 : 1;
    VARVE_TRY(r.norm_weights, root_.boolean_or("norm_topk_prob", !v2));
    // Published implementations differ in what follows from both.
    if (v2 && r.norm_weights) return root_.wrong("norm_topk_prob", "false");
    VARVE_TRY(const double scale,
              root_.number_or("routed_scaling_factor", v2 ? 1 : kRoutedScale, {0, 1e6}));
    r.scale = static_cast<float>(scale);
    if (!groups) return {};
    VARVE_CHECKED(read_int(root_, "n_group", r.n_groups, {1, std::min(c_.n_experts, kMaxGroups)}));
    VARVE_CHECKED(read_int(root_, "topk_group", r.n_groups_used, {1, r.n_groups}));
    if (c_.n_experts % r.n_groups != 0) {
      return root_.wrong("n_group", fmt::format("a divisor of n_routed_experts, {}", c_.n_experts));
    }
    const int group = c_.n_experts / r.n_groups;
    r.best_of_group = std::min(r.best_of_group, group);
    if (r.n_groups_used * group < c_.n_experts_used) {
      return root_.wrong(
          "topk_group", fmt::format("groups that hold num_experts_per_tok, {}", c_.n_experts_used));
    }
    return {};
  }

  Result<void> read_rope() {
    VARVE_TRY(const bool interleaved, root_.boolean_or("rope_interleave", true));
    if (!interleaved) return root_.wrong("rope_interleave", "true");
    VARVE_TRY(const RopeFields fields, read_rope_fields(root_));
    const double scale = 1 / std::sqrt(static_cast<double>(c_.qk_dim()));
    c_.softmax_scale = static_cast<float>(scale);
    c_.rope = Rope(c_.rope_dim, fields.theta, YarnScaling{});
    if (fields.type == "default") return {};
    const JsonObject& scaling = *fields.scaling;
    if (fields.type != "yarn") {
      return scaling.wrong(fields.type_key, "a RoPE that runs: default, yarn");
    }
    VARVE_TRY(const YarnScaling yarn, read_yarn(scaling));
    VARVE_TRY(const double mscale, scaling.number_or("mscale", 1, {0, 1e3}));
    VARVE_TRY(const double all_dim, scaling.number_or("mscale_all_dim", 0, {0, 1e3}));
    // Cosines carry what the softmax's scale does not.
    const double of_scale = yarn_amplitude(yarn.factor, all_dim);
    const double amplitude = yarn_amplitude(yarn.factor, mscale) / of_scale;
    c_.softmax_scale = static_cast<float>(scale * of_scale * of_scale);
    c_.max_position = std::max(c_.max_position, yarn_reach(yarn));
    c_.rope = Rope(c_.rope_dim, fields.theta, yarn);
    c_.rope.set_amplitude(static_cast<float>(amplitude));
    return {};
  }

  const JsonObject& root_;
  Config c_;
};

}  // namespace

Result<Config> parse_config(const JsonObject& root) {
  return ConfigReader(root).read();
}

CacheShape Config::cache_shape() const {
  CacheShape shape{.layers = {}, .window = 0, .hidden_dim = hidden_size};
  shape.layers.assign(static_cast<size_t>(n_layers),
                      {.kind = index_n_heads > 0 ? LayerKind::dsa : LayerKind::mla,
                       .ratio = 1,
                       .head_dim = latent_dim(),
                       .rope_dim = rope_dim,
                       .index_dim = index_head_dim});
  return shape;
}

}  // namespace varve::mla
