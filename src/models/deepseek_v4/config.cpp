#include "models/deepseek_v4/config.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <utility>

#include "models/config_fields.h"

// The spellings (spec section 1):
//   config.json of the official checkpoints: hidden_size, compress_ratios, rope_scaling, ...
//   config.json as Transformers saves it: layer_types + compress_rates, mlp_layer_types,
//     rope_parameters {main, compress}, partial_rotary_factor; and its steps on the way there
//   inference/config.json of the official checkpoints: dim, n_layers, original_seq_len, ...
// Where a value is given in more than one of them they must agree.

namespace varve::deepseek_v4 {
namespace {

using Keys = std::initializer_list<std::string_view>;

constexpr std::string_view kCsaType = "compressed_sparse_attention";
constexpr std::string_view kHcaType = "heavily_compressed_attention";
constexpr std::string_view kSwaType = "sliding_attention";

constexpr int kOfficialCsaRatio = 4;
constexpr int kOfficialHcaRatio = 128;

int to_int(int64_t n) {
  return static_cast<int>(n);
}

class ConfigReader {
 public:
  explicit ConfigReader(const JsonObject& root) : root_(root) {}

  Result<Config> read() {
    VARVE_CHECKED(check_kind());
    VARVE_CHECKED(read_sizes());
    VARVE_CHECKED(read_attention());
    VARVE_CHECKED(read_experts());
    VARVE_CHECKED(read_hash_layers());
    VARVE_CHECKED(read_numbers());
    VARVE_CHECKED(read_ropes());
    VARVE_CHECKED(read_tokens());
    VARVE_CHECKED(read_fp8_blocks(root_, c_));
    VARVE_CHECKED(check_products());
    return std::move(c_);
  }

 private:
  // Whether the names are those of DeepSeek's inference/config.json.
  bool is_inference_spelling() const { return root_.has("dim") && !root_.has("hidden_size"); }

  // The key that is present; the first where none is, so that the message names the official one.
  Result<std::string_view> one_of(Keys keys) const {
    std::string_view found;
    for (const std::string_view key : keys) {
      if (!root_.has(key)) continue;
      if (!found.empty() && root_.shown(found) != root_.shown(key)) {
        return root_.wrong(key, fmt::format("{} as in `{}`", root_.shown(found), found));
      }
      if (found.empty()) found = key;
    }
    return found.empty() ? *keys.begin() : found;
  }

  Result<void> size(int& out, Keys keys, int64_t max = kMaxWidth, int64_t min = 1) const {
    VARVE_TRY(const std::string_view key, one_of(keys));
    return read_int(root_, key, out, {min, max});
  }

  Result<void> value(float& out, Keys keys, FloatRange range,
                     std::optional<double> missing = std::nullopt) const {
    VARVE_TRY(const std::string_view key, one_of(keys));
    VARVE_TRY(const double n,
              missing ? root_.number_or(key, *missing, range) : root_.number(key, range));
    out = static_cast<float>(n);
    return {};
  }

  Result<void> only_false(Keys keys) const {
    for (const std::string_view key : keys) {
      VARVE_TRY(const bool found, root_.boolean_or(key, false));
      if (found) return root_.wrong(key, "false");
    }
    return {};
  }
  Result<void> only_one(Keys keys) const {
    for (const std::string_view key : keys) VARVE_CHECKED(root_.integer_or(key, 1, {1, 1}));
    return {};
  }

  Result<void> check_kind() const;
  Result<void> read_sizes();
  Result<void> read_attention();
  Result<void> read_compress_ratios(std::vector<LayerConfig>& layers) const;
  Result<void> read_layer_types(std::vector<LayerConfig>& layers) const;
  Result<std::optional<int>> rate(std::string_view type, std::string_view scalar) const;
  Result<void> read_experts();
  Result<void> read_hash_layers();
  Result<void> read_numbers();
  Result<void> read_rope_dim();
  Result<void> read_ropes();
  Result<YarnScaling> read_scaling(const JsonObject& rope) const;
  Result<YarnScaling> read_inference_yarn() const;
  Result<void> read_tokens();
  Result<void> check_products() const;

  // Layers behind the backbone that a per-layer list may have: MTP, or the three DSpark blocks.
  size_t tail_limit() const { return static_cast<size_t>(std::max(n_mtp_, 3)); }

  const JsonObject& root_;
  Config c_;
  int n_mtp_ = 0;
};

Result<void> ConfigReader::check_kind() const {
  if (!root_.has("model_type") && is_inference_spelling()) return {};
  VARVE_TRY(const std::string type, root_.string_or("model_type", ""));
  if (type != kModelType) {
    return root_.wrong("model_type", fmt::format("one that runs ({})", kModelType));
  }
  return {};
}

Result<void> ConfigReader::read_sizes() {
  VARVE_CHECKED(size(c_.vocab_size, {"vocab_size"}, kMaxVocab));
  VARVE_CHECKED(size(c_.hidden_size, {"hidden_size", "dim"}));
  VARVE_CHECKED(size(c_.n_layers, {"num_hidden_layers", "n_layers"}, kMaxLayers));
  VARVE_CHECKED(size(c_.n_heads, {"num_attention_heads", "n_heads"}, 1 << 16));
  VARVE_CHECKED(size(c_.head_dim, {"head_dim"}, 1 << 16));
  VARVE_CHECKED(size(c_.q_lora_rank, {"q_lora_rank"}));
  VARVE_CHECKED(size(c_.o_groups, {"o_groups"}, 1 << 16));
  VARVE_CHECKED(size(c_.o_lora_rank, {"o_lora_rank"}));
  VARVE_CHECKED(size(c_.window, {"sliding_window", "window_size"}));
  VARVE_CHECKED(only_one({"num_key_value_heads"}));
  VARVE_CHECKED(only_false({"attention_bias", "mlp_bias"}));
  VARVE_TRY(const std::string_view mtp, one_of({"num_nextn_predict_layers", "n_mtp_layers"}));
  VARVE_TRY(const int64_t n_mtp, root_.integer_or(mtp, 1, {0, 64}));
  n_mtp_ = to_int(n_mtp);
  if (c_.n_heads % c_.o_groups != 0) {
    return root_.wrong("o_groups", fmt::format("a divisor of the {} attention heads", c_.n_heads));
  }
  return read_rope_dim();
}

Result<void> ConfigReader::read_rope_dim() {
  VARVE_TRY(const std::string_view key, one_of({"qk_rope_head_dim", "rope_head_dim"}));
  // The factor stands at the top or, in some saved files, only inside the RoPE parameters.
  std::optional<JsonObject> holder;
  if (root_.has("partial_rotary_factor")) {
    holder = root_;
  } else if (root_.is_object("rope_parameters")) {
    holder = root_.object("rope_parameters").value();
    for (const std::string_view part : {"compress", "main"}) {
      if (holder->is_object(part)) {
        JsonObject inner = holder->object(part).value();
        holder = std::move(inner);
        break;
      }
    }
    if (!holder->has("partial_rotary_factor")) holder.reset();
  }
  if (root_.has(key)) {
    VARVE_TRY(const int64_t n, root_.integer(key, {2, c_.head_dim}));
    c_.rope_dim = to_int(n);
  }
  if (holder) {
    VARVE_TRY(const double factor, holder->number("partial_rotary_factor", {0, 1, true}));
    const double exact = factor * c_.head_dim;
    const double rounded = std::round(exact);
    if (std::abs(exact - rounded) > 1e-3 || rounded < 2) {
      return holder->wrong("partial_rotary_factor",
                           fmt::format("a whole number of the {} head dims", c_.head_dim));
    }
    const int dim = static_cast<int>(rounded);
    if (c_.rope_dim != 0 && dim != c_.rope_dim) {
      return holder->wrong("partial_rotary_factor",
                           fmt::format("{} / {} as in `{}`", c_.rope_dim, c_.head_dim, key));
    }
    c_.rope_dim = dim;
  }
  if (c_.rope_dim == 0) return root_.wrong(key, "it or `partial_rotary_factor`");
  if (c_.rope_dim % 2 != 0) {
    return bad_input("{}: field `{}`: expected an even number of RoPE dims, found {}", root_.file(),
                     root_.has(key) ? root_.path(key) : "partial_rotary_factor", c_.rope_dim);
  }
  return {};
}

Result<std::optional<int>> ConfigReader::rate(std::string_view type,
                                              std::string_view scalar) const {
  std::optional<int> found;
  if (root_.has("compress_rates")) {
    VARVE_TRY(const JsonObject rates, root_.object("compress_rates"));
    if (rates.has(type)) {
      VARVE_TRY(const int64_t n, rates.integer(type, {1, kBlockTokens}));
      if (kBlockTokens % n != 0) return rates.wrong(type, "a divisor of 128");
      found = to_int(n);
    }
  }
  if (root_.has(scalar)) {
    VARVE_TRY(const int64_t n, root_.integer(scalar, {1, kBlockTokens}));
    if (kBlockTokens % n != 0) return root_.wrong(scalar, "a divisor of 128");
    if (found && n != *found) {
      return root_.wrong(scalar, fmt::format("{} as in `compress_rates`", *found));
    }
    found = to_int(n);
  }
  return found;
}

Result<void> ConfigReader::read_compress_ratios(std::vector<LayerConfig>& layers) const {
  VARVE_TRY(const std::optional<int> csa_rate, rate(kCsaType, "compress_rate_csa"));
  VARVE_TRY(const std::optional<int> hca_rate, rate(kHcaType, "compress_rate_hca"));
  if (csa_rate && hca_rate && *csa_rate == *hca_rate) {
    return bad_input(
        "{}: field `compress_rates`: expected different rates for CSA and HCA to tell the layers "
        "of `compress_ratios` apart, found {} twice",
        root_.file(), *csa_rate);
  }
  VARVE_TRY(const std::vector<int64_t> ratios,
            root_.integers("compress_ratios", {INT64_MIN, INT64_MAX}));
  const auto n_layers = static_cast<size_t>(c_.n_layers);
  if (ratios.size() < n_layers || ratios.size() > n_layers + tail_limit()) {
    return root_.wrong("compress_ratios",
                       fmt::format("one ratio for each of the {} layers and up to {} zeros behind",
                                   n_layers, tail_limit()));
  }
  for (size_t i = 0; i < ratios.size(); ++i) {
    const int64_t ratio = ratios[i];
    if (i >= n_layers && ratio != 0) {
      return bad_input(
          "{}: field `compress_ratios[{}]`: expected 0 behind the last of {} layers, found {}",
          root_.file(), i, n_layers, ratio);
    }
    if (i >= n_layers) continue;
    if (ratio < 0 || ratio > kBlockTokens || (ratio > 0 && kBlockTokens % ratio != 0)) {
      return bad_input(
          "{}: field `compress_ratios[{}]`: layer {}: expected a ratio that runs (0 for none, or "
          "1, 2, 4, 8, 16, 32, 64, 128), found {}",
          root_.file(), i, i, ratio);
    }
    // The rule of the official code is that 4 overlaps and has the indexer and others do not;
    // named rates come before it.
    LayerKind kind = LayerKind::hca;
    if (ratio == 0) {
      kind = LayerKind::swa;
    } else if (csa_rate && ratio == *csa_rate) {
      kind = LayerKind::csa;
    } else if (!(hca_rate && ratio == *hca_rate) && ratio == kOfficialCsaRatio) {
      kind = LayerKind::csa;
    }
    layers.push_back({kind, to_int(ratio), false});
  }
  return {};
}

Result<void> ConfigReader::read_layer_types(std::vector<LayerConfig>& layers) const {
  VARVE_TRY(const std::optional<int> csa_rate, rate(kCsaType, "compress_rate_csa"));
  VARVE_TRY(const std::optional<int> hca_rate, rate(kHcaType, "compress_rate_hca"));
  VARVE_TRY(const std::vector<std::string> types, root_.strings("layer_types"));
  const auto n_layers = static_cast<size_t>(c_.n_layers);
  if (types.size() < n_layers || types.size() > n_layers + tail_limit()) {
    return root_.wrong("layer_types", fmt::format("one type for each of the {} layers", n_layers));
  }
  for (size_t i = 0; i < types.size(); ++i) {
    LayerConfig layer;
    if (types[i] == kCsaType) {
      layer = {LayerKind::csa, csa_rate.value_or(kOfficialCsaRatio), false};
    } else if (types[i] == kHcaType) {
      layer = {LayerKind::hca, hca_rate.value_or(kOfficialHcaRatio), false};
    } else if (types[i] != kSwaType) {
      return bad_input("{}: field `layer_types[{}]`: layer {}: expected {}, {} or {}, found {}",
                       root_.file(), i, i, kSwaType, kCsaType, kHcaType, in_quotes(types[i]));
    }
    if (i < n_layers) {
      layers.push_back(layer);
    } else if (layer.attention != LayerKind::swa) {
      return bad_input(
          "{}: field `layer_types[{}]`: expected {} behind the last of {} layers, "
          "found {}",
          root_.file(), i, kSwaType, n_layers, in_quotes(types[i]));
    }
  }
  return {};
}

Result<void> ConfigReader::read_attention() {
  const bool by_ratio = root_.has("compress_ratios");
  const bool by_type = root_.has("layer_types");
  if (!by_ratio && !by_type) {
    return bad_input(
        "{}: expected field `compress_ratios` or field `layer_types` (the attention of each "
        "layer), both are missing",
        root_.file());
  }
  if (by_type) VARVE_CHECKED(read_layer_types(c_.layers));
  if (by_ratio) {
    std::vector<LayerConfig> layers;
    VARVE_CHECKED(read_compress_ratios(layers));
    for (size_t i = 0; by_type && i < layers.size(); ++i) {
      const LayerConfig& typed = c_.layers[i];
      if (layers[i].attention != typed.attention || layers[i].ratio != typed.ratio) {
        return bad_input(
            "{}: field `compress_ratios[{}]`: layer {}: expected {} as in `layer_types` and "
            "`compress_rates`, found {}",
            root_.file(), i, i, typed.ratio, layers[i].ratio);
      }
    }
    c_.layers = std::move(layers);
  }
  const bool has_csa = std::any_of(c_.layers.begin(), c_.layers.end(), [](const LayerConfig& l) {
    return l.attention == LayerKind::csa;
  });
  if (!has_csa) return {};
  VARVE_CHECKED(size(c_.index_n_heads, {"index_n_heads"}, 1 << 16));
  VARVE_CHECKED(size(c_.index_head_dim, {"index_head_dim"}, 1 << 16));
  VARVE_CHECKED(size(c_.index_topk, {"index_topk"}));
  if (c_.index_head_dim < c_.rope_dim) {
    return root_.wrong("index_head_dim", fmt::format("at least the {} RoPE dims", c_.rope_dim));
  }
  return {};
}

Result<void> ConfigReader::read_experts() {
  VARVE_CHECKED(size(c_.n_experts, {"n_routed_experts", "num_local_experts"}, 1 << 16));
  VARVE_CHECKED(
      size(c_.n_experts_used, {"num_experts_per_tok", "n_activated_experts"}, c_.n_experts));
  VARVE_CHECKED(size(c_.n_shared_experts, {"n_shared_experts"}, 64, 0));
  VARVE_CHECKED(size(c_.moe_dim, {"moe_intermediate_size", "moe_inter_dim"}));
  VARVE_CHECKED(read_only(root_, {"scoring_func", "score_func"}, "sqrtsoftplus"));
  VARVE_CHECKED(read_only(root_, {"topk_method"}, "noaux_tc"));
  VARVE_CHECKED(read_only(root_, {"hidden_act"}, "silu"));
  VARVE_CHECKED(only_one({"n_group", "topk_group"}));
  VARVE_TRY(c_.norm_topk_prob, root_.boolean_or("norm_topk_prob", true));
  // Published defaults disagree on both of these: they have to be given.
  VARVE_CHECKED(value(c_.route_scale, {"routed_scaling_factor", "route_scale"}, {0, 1e6, true}));
  VARVE_CHECKED(value(c_.swiglu_limit, {"swiglu_limit"}, {0, 1e6}));
  return {};
}

Result<void> ConfigReader::read_hash_layers() {
  constexpr int kPublishedHashLayers = 3;
  VARVE_TRY(const std::string_view key, one_of({"num_hash_layers", "n_hash_layers"}));
  const bool by_type = root_.has("mlp_layer_types");
  const bool by_count = root_.has(key) || (!by_type && is_inference_spelling());
  int64_t n_hash = kPublishedHashLayers;
  if (by_count) {
    VARVE_TRY(n_hash, root_.integer(key, {0, kMaxLayers}));
  }
  for (size_t i = 0; i < c_.layers.size(); ++i) {
    c_.layers[i].hash_routed = static_cast<int64_t>(i) < n_hash;
  }
  if (!by_type) return {};
  VARVE_TRY(const std::vector<std::string> types, root_.strings("mlp_layer_types"));
  if (types.size() < c_.layers.size() || types.size() > c_.layers.size() + tail_limit()) {
    return root_.wrong("mlp_layer_types",
                       fmt::format("one type for each of the {} layers", c_.layers.size()));
  }
  for (size_t i = 0; i < c_.layers.size(); ++i) {
    const bool hash = types[i] == "hash_moe";
    if (!hash && types[i] != "moe") {
      return bad_input(
          "{}: field `mlp_layer_types[{}]`: layer {}: expected hash_moe or moe, "
          "found {}",
          root_.file(), i, i, in_quotes(types[i]));
    }
    if (by_count && hash != c_.layers[i].hash_routed) {
      return bad_input(
          "{}: field `mlp_layer_types[{}]`: layer {}: expected {} as in `{}`, found "
          "{}",
          root_.file(), i, i, hash ? "moe" : "hash_moe", key, in_quotes(types[i]));
    }
    c_.layers[i].hash_routed = hash;
  }
  return {};
}

Result<void> ConfigReader::read_numbers() {
  const FloatRange epsilon = {1e-30, 1};
  VARVE_CHECKED(size(c_.hc_mult, {"hc_mult"}, 64));
  VARVE_CHECKED(size(c_.hc_iters, {"hc_sinkhorn_iters"}, 1000));
  VARVE_CHECKED(value(c_.hc_eps, {"hc_eps"}, epsilon, 1e-6));
  VARVE_CHECKED(value(c_.rms_eps, {"rms_norm_eps", "norm_eps"}, epsilon, 1e-6));
  VARVE_TRY(c_.tied_head, root_.boolean_or("tie_word_embeddings", false));
  return {};
}

// One dictionary of RoPE parameters, whatever its name: the scaling it asks for.
Result<YarnScaling> ConfigReader::read_scaling(const JsonObject& rope) const {
  const std::string_view key = rope_type_key(rope);
  VARVE_TRY(const std::string type, rope.string_or(key, "default"));
  if (type != "default" && type != "yarn") {
    return rope.wrong(key, "a RoPE that runs (default, yarn)");
  }
  if (!rope.has(key) && rope.has("factor")) return rope.wrong("rope_type", "default or yarn");
  if (type == "default") return YarnScaling{};
  for (const std::string_view amplitude : {"attention_factor", "mscale", "mscale_all_dim"}) {
    VARVE_TRY(const double found, rope.number_or(amplitude, 1));
    if (found != 1) return rope.wrong(amplitude, "1 (cosines and sines are not scaled)");
  }
  return read_yarn(rope);
}

// original_seq_len and its neighbours; 0 turns the scaling off.
Result<YarnScaling> ConfigReader::read_inference_yarn() const {
  YarnScaling yarn;
  VARVE_TRY(const int64_t original, root_.integer("original_seq_len", {0, kMaxTokens}));
  if (original == 0) return yarn;
  yarn.original_max_position = to_int(original);
  VARVE_TRY(yarn.factor, root_.number("rope_factor", {1, 1e6}));
  VARVE_CHECKED(read_betas(root_, yarn));
  return yarn;
}

bool same(const YarnScaling& a, const YarnScaling& b) {
  return (a.factor == 1 && b.factor == 1) ||
         (a.factor == b.factor && a.beta_fast == b.beta_fast && a.beta_slow == b.beta_slow &&
          a.original_max_position == b.original_max_position);
}

Result<void> ConfigReader::read_ropes() {
  // theta = 1 would make the YaRN ramp divide by log(1).
  const FloatRange theta = {1, 1e15, true};
  // Transformers saves an in-between step where compress_rope_parameters is the whole second RoPE;
  // rope_parameters then belongs to the first, which is never scaled whatever it says.
  std::optional<JsonObject> main;
  std::optional<JsonObject> compress;
  std::string_view source;  // of the scaling so far, for messages
  if (root_.has("rope_parameters")) {
    VARVE_TRY(const JsonObject rope, root_.object("rope_parameters"));
    if (rope.has("main") || rope.has("compress")) {
      VARVE_TRY(main, rope.object("main"));
      VARVE_TRY(compress, rope.object("compress"));
      VARVE_TRY(const YarnScaling main_yarn, read_scaling(*main));
      if (main_yarn.factor != 1) return main->wrong("factor", "no scaling of the main RoPE");
    } else {
      main = rope;
      VARVE_CHECKED(read_scaling(rope));
    }
  }
  const bool nested = compress.has_value();
  if (!nested && root_.has("compress_rope_parameters")) {
    VARVE_TRY(compress, root_.object("compress_rope_parameters"));
  }

  c_.window_rope = {};
  if (!nested && root_.has("rope_theta")) {
    VARVE_TRY(c_.window_rope.theta, root_.number("rope_theta", theta));
  } else if (main && main->has("rope_theta")) {
    VARVE_TRY(c_.window_rope.theta, main->number("rope_theta", theta));
  } else {
    VARVE_TRY(c_.window_rope.theta, root_.number_or("rope_theta", 10000, theta));
  }
  const bool compresses = std::any_of(c_.layers.begin(), c_.layers.end(),
                                      [](const LayerConfig& l) { return l.ratio > 0; });
  if (compress && compress->has("rope_theta")) {
    VARVE_TRY(c_.compress_rope.theta, compress->number("rope_theta", theta));
  } else if (compresses || root_.has("compress_rope_theta")) {
    // Published defaults disagree (160000, 40000): it has to be given.
    VARVE_TRY(c_.compress_rope.theta, root_.number("compress_rope_theta", theta));
  }

  const auto add = [&](std::string_view name, const YarnScaling& yarn) -> Result<void> {
    if (!source.empty() && !same(yarn, c_.compress_rope.yarn)) {
      return root_.wrong(name, fmt::format("the same scaling as in `{}`", source));
    }
    source = name;
    c_.compress_rope.yarn = yarn;
    return {};
  };
  if (compress) {
    VARVE_TRY(const YarnScaling yarn, read_scaling(*compress));
    VARVE_CHECKED(add(nested ? "rope_parameters" : "compress_rope_parameters", yarn));
  } else if (main) {
    VARVE_TRY(const YarnScaling yarn, read_scaling(*main));
    VARVE_CHECKED(add("rope_parameters", yarn));
  }
  if (root_.has("rope_scaling")) {
    VARVE_TRY(const JsonObject rope, root_.object("rope_scaling"));
    VARVE_TRY(const YarnScaling yarn, read_scaling(rope));
    VARVE_CHECKED(add("rope_scaling", yarn));
  }
  if (root_.has("original_seq_len")) {
    VARVE_TRY(const YarnScaling yarn, read_inference_yarn());
    VARVE_CHECKED(add("original_seq_len", yarn));
  }
  return {};
}

Result<void> ConfigReader::read_tokens() {
  const YarnScaling& yarn = c_.compress_rope.yarn;
  if (root_.has("max_position_embeddings") || yarn.factor == 1) {
    VARVE_CHECKED(size(c_.max_position, {"max_position_embeddings"}, kMaxTokens));
  } else {
    // inference/config.json has no such field: what the scaling reaches.
    c_.max_position = yarn_reach(yarn);
  }
  return read_special_ids(root_, -1, c_);
}

// The products that later code forms in an int.
Result<void> ConfigReader::check_products() const {
  struct Product {
    std::string_view name;
    int64_t a;
    int64_t b;
  };
  for (const Product& p : {
           Product{"num_attention_heads x head_dim", c_.n_heads, c_.head_dim},
           Product{"o_groups x o_lora_rank", c_.o_groups, c_.o_lora_rank},
           Product{"index_n_heads x index_head_dim", c_.index_n_heads, c_.index_head_dim},
           Product{"hc_mult x hidden_size", c_.hc_mult, c_.hidden_size},
           Product{"n_routed_experts x moe_intermediate_size", c_.n_experts, c_.moe_dim},
           Product{"n_shared_experts x moe_intermediate_size", c_.n_shared_experts, c_.moe_dim},
           Product{"vocab_size x num_experts_per_tok", c_.vocab_size, c_.n_experts_used},
       }) {
    if (p.a * p.b > kMaxProduct) {
      return bad_input("{}: fields `{}`: expected a product of at most {}, found {} x {}",
                       root_.file(), p.name, kMaxProduct, p.a, p.b);
    }
  }
  return {};
}

}  // namespace

CacheShape Config::cache_shape() const {
  CacheShape shape;
  shape.window = window;
  shape.hidden_dim = hidden_size;
  shape.layers.reserve(layers.size());
  for (const LayerConfig& layer : layers) {
    shape.layers.push_back({layer.attention, layer.ratio, head_dim, rope_dim,
                            layer.attention == LayerKind::csa ? index_head_dim : 0});
  }
  return shape;
}

Result<Config> parse_config(const JsonObject& root) {
  return ConfigReader(root).read();
}

}  // namespace varve::deepseek_v4
