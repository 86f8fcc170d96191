#include "models/llama/config.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "models/config_fields.h"

namespace varve::llama {
namespace {

// Bounds that no model comes near and within which no product of two sizes leaves an int.
constexpr int64_t kMaxWidth = 1 << 20;
constexpr int64_t kMaxProduct = 1 << 29;
constexpr int64_t kMaxTokens = 1 << 30;
constexpr int64_t kMaxLayers = 4096;

constexpr std::array<std::string_view, 4> kTypes = {"llama", "mistral", "qwen2", "qwen3"};

int to_int(int64_t n) {
  return static_cast<int>(n);
}

class ConfigReader {
 public:
  explicit ConfigReader(const JsonObject& root) : root_(root) {}

  Result<Config> read() {
    VARVE_TRY(c_.model_type, root_.string("model_type"));
    if (!is_known(c_.model_type)) return root_.wrong("model_type", kKnownTypes);
    VARVE_CHECKED(read_sizes());
    VARVE_CHECKED(read_biases());
    VARVE_CHECKED(read_windows());
    VARVE_CHECKED(read_rope());
    VARVE_CHECKED(read_special_ids(root_, c_.vocab_size, c_.bos_id, c_.eos_ids));
    VARVE_CHECKED(read_fp8_blocks(root_, c_.fp8_block_rows, c_.fp8_block_cols));
    return std::move(c_);
  }

 private:
  bool is_qwen() const { return c_.model_type.starts_with("qwen"); }

  Result<void> size(int& out, std::string_view key, int64_t max = kMaxWidth) const {
    VARVE_TRY(const int64_t n, root_.integer(key, {1, max}));
    out = to_int(n);
    return {};
  }
  Result<void> size_or(int& out, std::string_view key, int missing, int64_t max = kMaxWidth) const {
    VARVE_TRY(const int64_t n, root_.integer_or(key, missing, {1, max}));
    out = to_int(n);
    return {};
  }

  Result<void> read_sizes() {
    VARVE_CHECKED(size(c_.vocab_size, "vocab_size", 1 << 24));
    VARVE_CHECKED(size(c_.hidden_size, "hidden_size"));
    VARVE_CHECKED(size(c_.n_layers, "num_hidden_layers", kMaxLayers));
    VARVE_CHECKED(size(c_.n_heads, "num_attention_heads"));
    VARVE_CHECKED(size_or(c_.n_kv_heads, "num_key_value_heads", c_.n_heads));
    if (c_.n_heads % c_.n_kv_heads != 0) {
      return root_.wrong("num_key_value_heads",
                         fmt::format("a divisor of num_attention_heads, {}", c_.n_heads));
    }
    if (!root_.has("head_dim") && c_.hidden_size % c_.n_heads != 0) {
      return root_.wrong("head_dim", "a number, since hidden_size / num_attention_heads is none");
    }
    VARVE_CHECKED(size_or(c_.head_dim, "head_dim", std::max(1, c_.hidden_size / c_.n_heads)));
    if (c_.head_dim % 2 != 0) return root_.wrong("head_dim", "an even number");
    VARVE_CHECKED(size(c_.mlp_dim, "intermediate_size"));
    VARVE_CHECKED(size(c_.max_position, "max_position_embeddings", kMaxTokens));
    if (int64_t{c_.n_heads} * c_.head_dim > kMaxProduct) {
      return root_.wrong("num_attention_heads", fmt::format("at most {} / head_dim", kMaxProduct));
    }
    VARVE_TRY(const double eps, root_.number_or("rms_norm_eps", 1e-6, {0, 1}));
    c_.rms_eps = static_cast<float>(eps);
    for (const std::string_view key : {"hidden_act", "hidden_activation"}) {
      VARVE_TRY(const std::string act, root_.string_or(key, "silu"));
      if (act != "silu") return root_.wrong(key, "\"silu\"");
    }
    VARVE_TRY(c_.tied_head, root_.boolean_or("tie_word_embeddings", false));
    return {};
  }

  Result<void> read_biases() {
    VARVE_TRY(const bool attention, root_.boolean_or("attention_bias", false));
    VARVE_TRY(c_.mlp_bias, root_.boolean_or("mlp_bias", false));
    c_.qkv_bias = attention || c_.model_type == "qwen2";
    c_.output_bias = attention;
    c_.qk_norm = c_.model_type == "qwen3";
    return {};
  }

  // A window is there by layer: of all (Mistral), of those that layer_types names, or of those from
  // max_window_layers on (Qwen, where use_sliding_window says so).
  Result<void> read_windows() {
    const auto n_layers = static_cast<size_t>(c_.n_layers);
    c_.windows.assign(n_layers, 0);
    VARVE_TRY(const bool use, root_.boolean_or("use_sliding_window", !is_qwen()));
    if (c_.model_type == "llama" || !root_.has("sliding_window") || !use) return {};
    VARVE_TRY(const int64_t found, root_.integer("sliding_window", {1, kMaxTokens}));
    // A window that no context leaves hides nothing.
    const int window = found >= c_.max_position ? 0 : to_int(found);
    if (root_.has("layer_types")) {
      VARVE_TRY(const std::vector<std::string> types, root_.strings("layer_types"));
      if (types.size() != n_layers) {
        return root_.wrong("layer_types", fmt::format("{} entries", n_layers));
      }
      for (size_t l = 0; l < n_layers; ++l) {
        if (types[l] == "sliding_attention") {
          c_.windows[l] = window;
        } else if (types[l] != "full_attention") {
          return root_.wrong("layer_types", "full_attention and sliding_attention");
        }
      }
      return {};
    }
    VARVE_TRY(const int64_t first,
              root_.integer_or("max_window_layers", is_qwen() ? 28 : 0, {0, kMaxLayers}));
    for (auto l = static_cast<size_t>(first); l < n_layers; ++l) c_.windows[l] = window;
    return {};
  }

  Result<void> read_rope() {
    const std::string_view key = root_.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
    double theta = 10000;
    VARVE_TRY(theta, root_.number_or("rope_theta", theta, {1, 1e12, true}));
    VARVE_TRY(const double partial, root_.number_or("partial_rotary_factor", 1));
    if (partial != 1) return root_.wrong("partial_rotary_factor", "1");
    c_.rope = Rope(c_.head_dim, theta, YarnScaling{});
    if (!root_.has(key)) return {};
    VARVE_TRY(const JsonObject scaling, root_.object(key));
    VARVE_TRY(theta, scaling.number_or("rope_theta", theta, {1, 1e12, true}));
    VARVE_TRY(const double part, scaling.number_or("partial_rotary_factor", 1));
    if (part != 1) return scaling.wrong("partial_rotary_factor", "1");
    const std::string_view type_key = scaling.has("rope_type") ? "rope_type" : "type";
    VARVE_TRY(const std::string type, scaling.string_or(type_key, "default"));
    const auto original = [&](int missing) -> Result<int> {
      VARVE_TRY(const int64_t n,
                scaling.integer_or("original_max_position_embeddings", missing, {1, kMaxTokens}));
      return to_int(n);
    };
    if (type == "default") {
      c_.rope = Rope(c_.head_dim, theta, YarnScaling{});
    } else if (type == "linear") {
      VARVE_TRY(const double factor, scaling.number("factor", {1, 1e6}));
      c_.rope = Rope::linear(c_.head_dim, theta, factor);
    } else if (type == "llama3") {
      Llama3Scaling llama3;
      VARVE_TRY(llama3.factor, scaling.number("factor", {1, 1e6}));
      VARVE_TRY(llama3.low_freq_factor, scaling.number_or("low_freq_factor", 1, {0, 1e6}));
      VARVE_TRY(llama3.high_freq_factor, scaling.number_or("high_freq_factor", 4, {0, 1e6}));
      if (llama3.high_freq_factor <= llama3.low_freq_factor) {
        return scaling.wrong("high_freq_factor", "more than low_freq_factor");
      }
      VARVE_TRY(llama3.original_max_position, original(8192));
      c_.rope = Rope(c_.head_dim, theta, llama3);
    } else if (type == "yarn") {
      VARVE_TRY(const int of_yarn, original(c_.max_position));
      VARVE_CHECKED(read_yarn(scaling, theta, of_yarn));
    } else {
      return scaling.wrong(type_key, "a RoPE that runs: default, linear, llama3, yarn");
    }
    return {};
  }

  Result<void> read_yarn(const JsonObject& scaling, double theta, int original) {
    YarnScaling yarn;
    VARVE_TRY(yarn.factor, scaling.number("factor", {1, 1e6}));
    VARVE_TRY(yarn.beta_fast, scaling.number_or("beta_fast", 32, {0, 1e6, true}));
    VARVE_TRY(yarn.beta_slow, scaling.number_or("beta_slow", 1, {0, 1e6, true}));
    yarn.original_max_position = original;
    VARVE_TRY(const bool truncate, scaling.boolean_or("truncate", true));
    if (!truncate) return scaling.wrong("truncate", "true");
    for (const std::string_view key : {"mscale", "mscale_all_dim"}) {
      if (scaling.has(key)) return scaling.wrong(key, "none in this family");
    }
    VARVE_TRY(const double amplitude,
              scaling.number_or("attention_factor", 0.1 * std::log(yarn.factor) + 1, {0, 1e6}));
    c_.rope = Rope(c_.head_dim, theta, yarn);
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
  for (const int window : windows) {
    shape.layers.push_back(
        {.kind = LayerKind::kv, .head_dim = head_dim, .n_kv_heads = n_kv_heads, .window = window});
  }
  return shape;
}

}  // namespace varve::llama
