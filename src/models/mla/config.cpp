#include "models/mla/config.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "models/config_fields.h"

namespace varve::mla {
namespace {

// Bounds that no model comes near and within which no product of two sizes leaves an int.
constexpr int64_t kMaxWidth = 1 << 20;
constexpr int64_t kMaxProduct = 1 << 29;
constexpr int64_t kMaxTokens = 1 << 30;
constexpr int64_t kMaxLayers = 4096;

constexpr std::array<std::string_view, 3> kTypes = {"deepseek_v2", "deepseek_v3", "deepseek_v32"};

int to_int(int64_t n) {
  return static_cast<int>(n);
}

// 0.1 mscale ln(factor) + 1, as YaRN has it.
double yarn_amplitude(double factor, double mscale) {
  return factor <= 1 ? 1 : 0.1 * mscale * std::log(factor) + 1;
}

class ConfigReader {
 public:
  explicit ConfigReader(const JsonObject& root) : root_(root) {}

  Result<Config> read() {
    VARVE_TRY(c_.model_type, root_.string("model_type"));
    if (!is_known(c_.model_type)) return root_.wrong("model_type", kKnownTypes);
    VARVE_CHECKED(read_sizes());
    VARVE_CHECKED(read_attention());
    VARVE_CHECKED(read_experts());
    VARVE_CHECKED(read_router());
    VARVE_CHECKED(read_rope());
    VARVE_CHECKED(read_special_ids(root_, c_.vocab_size, c_.bos_id, c_.eos_ids));
    VARVE_CHECKED(read_fp8_blocks(root_, c_.fp8_block_rows, c_.fp8_block_cols));
    return std::move(c_);
  }

 private:
  Result<void> size(int& out, std::string_view key, int64_t max = kMaxWidth,
                    int64_t min = 1) const {
    VARVE_TRY(const int64_t n, root_.integer(key, {min, max}));
    out = to_int(n);
    return {};
  }
  Result<void> size_or(int& out, std::string_view key, int missing, int64_t max = kMaxWidth) const {
    VARVE_TRY(const int64_t n, root_.integer_or(key, missing, {0, max}));
    out = to_int(n);
    return {};
  }

  Result<void> read_sizes() {
    VARVE_CHECKED(size(c_.vocab_size, "vocab_size", 1 << 24));
    VARVE_CHECKED(size(c_.hidden_size, "hidden_size"));
    VARVE_CHECKED(size(c_.n_layers, "num_hidden_layers", kMaxLayers));
    VARVE_CHECKED(size(c_.mlp_dim, "intermediate_size"));
    VARVE_CHECKED(size(c_.max_position, "max_position_embeddings", kMaxTokens));
    VARVE_TRY(const double eps, root_.number_or("rms_norm_eps", 1e-6, {0, 1}));
    c_.rms_eps = static_cast<float>(eps);
    VARVE_TRY(const std::string act, root_.string_or("hidden_act", "silu"));
    if (act != "silu") return root_.wrong("hidden_act", "\"silu\"");
    VARVE_TRY(const bool bias, root_.boolean_or("attention_bias", false));
    if (bias) return root_.wrong("attention_bias", "false");
    VARVE_TRY(c_.tied_head, root_.boolean_or("tie_word_embeddings", false));
    return {};
  }

  Result<void> read_attention() {
    VARVE_CHECKED(size(c_.n_heads, "num_attention_heads"));
    VARVE_CHECKED(size_or(c_.q_lora_rank, "q_lora_rank", 0));
    VARVE_CHECKED(size(c_.kv_lora_rank, "kv_lora_rank"));
    VARVE_CHECKED(size(c_.nope_dim, "qk_nope_head_dim"));
    VARVE_CHECKED(size(c_.rope_dim, "qk_rope_head_dim"));
    VARVE_CHECKED(size(c_.v_dim, "v_head_dim"));
    if (c_.rope_dim % 2 != 0) return root_.wrong("qk_rope_head_dim", "an even number");
    const int64_t widest = std::max({c_.qk_dim(), c_.latent_dim(), c_.nope_dim + c_.v_dim});
    if (c_.n_heads * widest > kMaxProduct) {
      return root_.wrong("num_attention_heads", fmt::format("at most {}", kMaxProduct / widest));
    }
    if (c_.model_type != "deepseek_v32") return {};
    if (c_.q_lora_rank == 0) return root_.wrong("q_lora_rank", "a number: the indexer reads it");
    VARVE_CHECKED(size(c_.index_n_heads, "index_n_heads"));
    VARVE_CHECKED(size(c_.index_head_dim, "index_head_dim"));
    VARVE_CHECKED(size(c_.index_topk, "index_topk"));
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
    VARVE_CHECKED(size_or(c_.n_experts, "n_routed_experts", 0, 1 << 16));
    c_.n_dense_layers = c_.n_layers;
    if (c_.n_experts == 0) return {};
    VARVE_CHECKED(size(c_.n_experts_used, "num_experts_per_tok", c_.n_experts));
    VARVE_CHECKED(size(c_.moe_dim, "moe_intermediate_size"));
    VARVE_CHECKED(size_or(c_.n_shared_experts, "n_shared_experts", 0, 1024));
    if (int64_t{c_.moe_dim} * std::max(1, c_.n_shared_experts) > kMaxProduct) {
      return root_.wrong("n_shared_experts",
                         fmt::format("at most {} / moe_intermediate_size", kMaxProduct));
    }
    VARVE_TRY(const int64_t dense, root_.integer_or("first_k_dense_replace", 0, {0, kMaxLayers}));
    c_.n_dense_layers = std::min(c_.n_layers, to_int(dense));
    VARVE_TRY(const int64_t every, root_.integer_or("moe_layer_freq", 1));
    if (every != 1) return root_.wrong("moe_layer_freq", "1");
    return {};
  }

  Result<void> read_router() {
    if (c_.n_experts == 0) return {};
    RouterConfig& r = c_.router;
    const bool v2 = c_.model_type == "deepseek_v2";
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
    VARVE_TRY(const double scale, root_.number_or("routed_scaling_factor", 1, {0, 1e6}));
    r.scale = static_cast<float>(scale);
    if (!groups) return {};
    VARVE_CHECKED(size(r.n_groups, "n_group", std::min(c_.n_experts, kMaxGroups)));
    VARVE_CHECKED(size(r.n_groups_used, "topk_group", r.n_groups));
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
    const std::string_view key = root_.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
    double theta = 10000;
    VARVE_TRY(theta, root_.number_or("rope_theta", theta, {1, 1e12, true}));
    VARVE_TRY(const bool interleaved, root_.boolean_or("rope_interleave", true));
    if (!interleaved) return root_.wrong("rope_interleave", "true");
    const double scale = 1 / std::sqrt(static_cast<double>(c_.qk_dim()));
    c_.softmax_scale = static_cast<float>(scale);
    c_.rope = Rope(c_.rope_dim, theta, YarnScaling{});
    if (!root_.has(key)) return {};
    VARVE_TRY(const JsonObject scaling, root_.object(key));
    VARVE_TRY(theta, scaling.number_or("rope_theta", theta, {1, 1e12, true}));
    const std::string_view type_key = scaling.has("rope_type") ? "rope_type" : "type";
    VARVE_TRY(const std::string type, scaling.string_or(type_key, "default"));
    if (type != "default" && type != "yarn") {
      return scaling.wrong(type_key, "a RoPE that runs: default, yarn");
    }
    YarnScaling yarn;
    double amplitude = 1;
    if (type == "yarn") {
      VARVE_TRY(yarn.factor, scaling.number("factor", {1, 1e6}));
      VARVE_TRY(yarn.beta_fast, scaling.number_or("beta_fast", 32, {0, 1e6, true}));
      VARVE_TRY(yarn.beta_slow, scaling.number_or("beta_slow", 1, {0, 1e6, true}));
      VARVE_TRY(const int64_t original,
                scaling.integer("original_max_position_embeddings", {1, kMaxTokens}));
      yarn.original_max_position = to_int(original);
      VARVE_TRY(const double mscale, scaling.number_or("mscale", 1, {0, 1e3}));
      VARVE_TRY(const double all_dim, scaling.number_or("mscale_all_dim", 0, {0, 1e3}));
      // Cosines carry what the softmax's scale does not.
      amplitude = yarn_amplitude(yarn.factor, mscale) / yarn_amplitude(yarn.factor, all_dim);
      const double of_scale = yarn_amplitude(yarn.factor, all_dim);
      c_.softmax_scale = static_cast<float>(scale * of_scale * of_scale);
    }
    c_.rope = Rope(c_.rope_dim, theta, yarn);
    c_.rope.set_amplitude(static_cast<float>(amplitude));
    return {};
  }

  const JsonObject& root_;
  Config c_;
};

}  // namespace

bool is_known(std::string_view model_type) {
  return std::find(kTypes.begin(), kTypes.end(), model_type) != kTypes.end();
}

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
