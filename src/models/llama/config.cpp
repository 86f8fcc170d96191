#include "models/llama/config.h"

#include <algorithm>
#include <cmath>

#include "models/config_fields.h"

namespace varve::llama {
namespace {

// What Transformers takes a missing field for, where that does not follow from others.
constexpr int kMistralKvHeads = 8;
constexpr int kQwenKvHeads = 32;
constexpr int kQwen3HeadDim = 128;
constexpr int kWindow = 4096;
constexpr int kQwenFirstWindowLayer = 28;
constexpr int kEosId = 2;  // none of Qwen

class ConfigReader {
 public:
  explicit ConfigReader(const JsonObject& root) : root_(root) {}

  Result<Config> read() {
    VARVE_CHECKED(read_decoder_fields(root_, kModelTypes, c_));
    VARVE_CHECKED(read_special_ids(root_, is_qwen() ? -1 : kEosId, c_));
    VARVE_CHECKED(read_sizes());
    VARVE_CHECKED(read_biases());
    VARVE_CHECKED(read_rope());
    VARVE_CHECKED(read_windows());
    return std::move(c_);
  }

 private:
  bool is_qwen() const { return c_.model_type.starts_with("qwen"); }

  Result<void> read_sizes() {
    VARVE_CHECKED(read_int(root_, "num_attention_heads", c_.n_heads));
    const bool mha = c_.model_type == "llama" || root_.is_null("num_key_value_heads");
    const int missing = is_qwen() ? kQwenKvHeads : kMistralKvHeads;
    VARVE_CHECKED(
        read_int_or(root_, "num_key_value_heads", c_.n_kv_heads, mha ? c_.n_heads : missing));
    if (c_.n_heads % c_.n_kv_heads != 0) {
      return root_.wrong("num_key_value_heads",
                         fmt::format("a divisor of num_attention_heads, {}", c_.n_heads));
    }
    VARVE_CHECKED(read_head_dim());
    if (c_.head_dim % 2 != 0) return root_.wrong("head_dim", "an even number");
    VARVE_CHECKED(read_int(root_, "intermediate_size", c_.mlp_dim));
    if (int64_t{c_.n_heads} * c_.head_dim > kMaxProduct) {
      return root_.wrong("num_attention_heads", fmt::format("at most {} / head_dim", kMaxProduct));
    }
    return {};
  }

  Result<void> read_head_dim() {
    const bool split = c_.model_type != "qwen3" || root_.is_null("head_dim");
    if (!root_.has("head_dim") && split && c_.hidden_size % c_.n_heads != 0) {
      return root_.wrong("head_dim", "a number, since hidden_size / num_attention_heads is none");
    }
    return read_int_or(root_, "head_dim", c_.head_dim,
                       split ? c_.hidden_size / c_.n_heads : kQwen3HeadDim);
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
    if (c_.model_type == "llama" || root_.is_null("sliding_window") || !use) return {};
    VARVE_TRY(const int64_t found, root_.integer_or("sliding_window", kWindow, {1, kMaxTokens}));
    // A window that no context leaves hides nothing.
    const int window = found >= c_.max_position ? 0 : static_cast<int>(found);
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
              root_.integer_or("max_window_layers", is_qwen() ? kQwenFirstWindowLayer : 0,
                               {0, kMaxLayers}));
    for (auto l = static_cast<size_t>(first); l < n_layers; ++l) c_.windows[l] = window;
    return {};
  }

  Result<void> read_rope() {
    VARVE_TRY(const bool interleaved, root_.boolean_or("rope_interleave", false));
    c_.rope_halves = !interleaved;
    VARVE_TRY(const RopeFields fields, read_rope_fields(root_));
    VARVE_CHECKED(check_whole_head(root_));
    c_.rope = Rope(c_.head_dim, fields.theta, YarnScaling{});
    if (!fields.scaling) return {};
    const JsonObject& scaling = *fields.scaling;
    VARVE_CHECKED(check_whole_head(scaling));
    if (fields.type == "default") return {};
    if (fields.type == "linear") {
      VARVE_TRY(const double factor, scaling.number("factor", {1, 1e6}));
      c_.rope = Rope::linear(c_.head_dim, fields.theta, factor);
      return {};
    }
    if (fields.type == "llama3") return read_llama3(scaling, fields.theta);
    if (fields.type == "yarn") return read_yarn_rope(scaling, fields.theta);
    if (fields.type == "factors") return read_factors(scaling);
    return scaling.wrong(fields.type_key, "a RoPE that runs: default, linear, llama3, yarn");
  }

  // RoPE turns all of a head.
  static Result<void> check_whole_head(const JsonObject& from) {
    VARVE_TRY(const double part, from.number_or("partial_rotary_factor", 1));
    if (part != 1) return from.wrong("partial_rotary_factor", "1");
    return {};
  }

  Result<void> read_llama3(const JsonObject& scaling, double theta) {
    Llama3Scaling llama3;
    VARVE_TRY(llama3.factor, scaling.number("factor", {1, 1e6}));
    VARVE_TRY(llama3.low_freq_factor, scaling.number_or("low_freq_factor", 1, {0, 1e6}));
    VARVE_TRY(llama3.high_freq_factor, scaling.number_or("high_freq_factor", 4, {0, 1e6}));
    if (llama3.high_freq_factor <= llama3.low_freq_factor) {
      return scaling.wrong("high_freq_factor", "more than low_freq_factor");
    }
    VARVE_CHECKED(read_int_or(scaling, "original_max_position_embeddings",
                              llama3.original_max_position, 8192, {1, kMaxTokens}));
    c_.rope = Rope(c_.head_dim, theta, llama3);
    return {};
  }

  // What each pair's frequency is divided by: how GGUF files have Llama 3's scaling.
  Result<void> read_factors(const JsonObject& scaling) {
    VARVE_TRY(const std::vector<double> factors, scaling.numbers("factors", {1e-6, 1e6}));
    if (factors.size() != static_cast<size_t>(c_.head_dim / 2)) {
      return scaling.wrong("factors", fmt::format("{} numbers", c_.head_dim / 2));
    }
    c_.rope.divide_frequencies(factors);
    return {};
  }

  Result<void> read_yarn_rope(const JsonObject& scaling, double theta) {
    VARVE_TRY(const YarnScaling yarn, read_yarn(scaling, c_.max_position));
    for (const std::string_view key : {"mscale", "mscale_all_dim"}) {
      if (scaling.has(key)) return scaling.wrong(key, "none in this family");
    }
    VARVE_TRY(const double amplitude,
              scaling.number_or("attention_factor", 0.1 * std::log(yarn.factor) + 1, {0, 1e6}));
    // Qwen's configs keep the length before the stretch in max_position_embeddings.
    c_.max_position = std::max(c_.max_position, yarn_reach(yarn));
    c_.rope = Rope(c_.head_dim, theta, yarn);
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
  for (const int window : windows) {
    shape.layers.push_back(
        {.kind = LayerKind::kv, .head_dim = head_dim, .n_kv_heads = n_kv_heads, .window = window});
  }
  return shape;
}

}  // namespace varve::llama
