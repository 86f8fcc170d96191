#include "models/gguf_config.h"

#include <array>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "models/config_fields.h"

// Keys and their meaning are those of gguf-py (constants.py, and the converters that write them)
// and of llama.cpp's loader of DeepSeek-V4.

namespace varve {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 5> kArchitectures = {"llama", "qwen2", "qwen3", "deepseek2",
                                                            "deepseek4"};
constexpr std::string_view kArchitectureKey = "general.architecture";

// The values of expert_gating_func.
constexpr int kSoftmaxGating = 1, kSigmoidGating = 2, kSqrtSoftplusGating = 4;

// A key behind "ARCHITECTURE." and the field of config.json (a dotted path) that says the same.
struct Field {
  std::string_view key;
  std::string_view path;
};

constexpr std::array kDecoderFields = {
    Field{"context_length", "max_position_embeddings"},
    Field{"embedding_length", "hidden_size"},
    Field{"feed_forward_length", "intermediate_size"},
    Field{"attention.head_count", "num_attention_heads"},
    Field{"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
    Field{"rope.freq_base", "rope_theta"},
};

constexpr std::array kLlamaFields = {
    Field{"attention.head_count_kv", "num_key_value_heads"},
    Field{"attention.key_length", "head_dim"},
};

constexpr std::array kExpertFields = {
    Field{"expert_count", "n_routed_experts"},
    Field{"expert_used_count", "num_experts_per_tok"},
    Field{"expert_shared_count", "n_shared_experts"},
    Field{"expert_feed_forward_length", "moe_intermediate_size"},
    Field{"expert_weights_scale", "routed_scaling_factor"},
    Field{"expert_weights_norm", "norm_topk_prob"},
};

constexpr std::array kMlaFields = {
    Field{"attention.q_lora_rank", "q_lora_rank"},
    Field{"attention.kv_lora_rank", "kv_lora_rank"},
    Field{"rope.dimension_count", "qk_rope_head_dim"},
    Field{"leading_dense_block_count", "first_k_dense_replace"},
};

constexpr std::array kV4Fields = {
    Field{"attention.head_count_kv", "num_key_value_heads"},
    Field{"attention.key_length", "head_dim"},
    Field{"rope.dimension_count", "qk_rope_head_dim"},
    Field{"attention.q_lora_rank", "q_lora_rank"},
    Field{"attention.output_group_count", "o_groups"},
    Field{"attention.output_lora_rank", "o_lora_rank"},
    Field{"attention.sliding_window", "sliding_window"},
    Field{"attention.compress_ratios", "compress_ratios"},
    Field{"attention.compress_rope_freq_base", "compress_rope_theta"},
    Field{"attention.indexer.head_count", "index_n_heads"},
    Field{"attention.indexer.key_length", "index_head_dim"},
    Field{"attention.indexer.top_k", "index_topk"},
    Field{"hyper_connection.count", "hc_mult"},
    Field{"hyper_connection.sinkhorn_iterations", "hc_sinkhorn_iters"},
    Field{"hyper_connection.epsilon", "hc_eps"},
    Field{"hash_layer_count", "num_hash_layers"},
};

constexpr std::array kScalingFields = {
    Field{"rope.scaling.factor", "rope_scaling.factor"},
    Field{"rope.scaling.original_context_length", "rope_scaling.original_max_position_embeddings"},
    Field{"rope.scaling.yarn_beta_fast", "rope_scaling.beta_fast"},
    Field{"rope.scaling.yarn_beta_slow", "rope_scaling.beta_slow"},
};

class Translator {
 public:
  Translator(const GgufMetadata& metadata, const FindTensor& find, Read read,
             std::string_view architecture)
      : metadata_(metadata), find_(find), read_(read), architecture_(architecture) {}

  Result<JsonObject> translate() {
    VARVE_CHECKED(decoder());
    if (architecture_ == "deepseek2") {
      VARVE_CHECKED(mla());
    } else if (architecture_ == "deepseek4") {
      VARVE_CHECKED(v4());
    } else {
      VARVE_CHECKED(llama());
    }
    return JsonObject::parse(out_.dump(-1, ' ', false, json::error_handler_t::replace),
                             metadata_.file(), std::move(names_));
  }

 private:
  std::string key(std::string_view end) const { return fmt::format("{}.{}", architecture_, end); }
  bool has(std::string_view end) const { return metadata_.find(key(end)) != nullptr; }
  bool has_tensor(std::string_view name) const { return find_(name) != nullptr; }

  void set(std::string_view path, json value, std::string name) {
    const size_t dot = path.find('.');
    if (dot == path.npos) {
      out_[std::string(path)] = std::move(value);
    } else {
      out_[std::string(path.substr(0, dot))][std::string(path.substr(dot + 1))] = std::move(value);
    }
    names_[std::string(path)] = std::move(name);
  }

  Result<json> element(const std::string& name, const GgufValue& value, size_t i) const {
    if (const auto text = value.string(i)) return json(*text);
    if (const auto flag = value.boolean(i)) return json(*flag);
    if (const auto whole = value.integer(i)) return json(*whole);
    const auto number = value.number(i);
    if (!number || !std::isfinite(*number)) return metadata_.wrong(name, "finite numbers");
    return json(*number);
  }

  // A key that is not there is null: of a missing field, Transformers has a default of its own.
  Result<void> copy(const std::string& name, std::string_view path) {
    const GgufValue* const value = metadata_.find(name);
    if (value == nullptr) {
      set(path, nullptr, name);
      return {};
    }
    json copied = json::array();
    for (size_t i = 0; i < value->n; ++i) {
      VARVE_TRY(json one, element(name, *value, i));
      copied.push_back(std::move(one));
    }
    set(path, value->is_array ? std::move(copied) : std::move(copied.front()), name);
    return {};
  }
  Result<void> copy(std::span<const Field> fields) {
    for (const Field& field : fields) VARVE_CHECKED(copy(key(field.key), field.path));
    return {};
  }

  // Numbers that would change what is computed, and are not honoured.
  Result<void> only_one(std::initializer_list<std::string_view> ends) const {
    for (const std::string_view end : ends) {
      const GgufValue* const value = metadata_.find(key(end));
      if (value != nullptr && (value->is_array || value->number() != 1)) {
        return metadata_.wrong(key(end), "1");
      }
    }
    return {};
  }

  Result<void> decoder();
  Result<void> check_vocabulary() const;
  Result<void> check_width(int64_t n_columns) const;
  Result<void> layers();
  Result<void> special_ids();
  Result<void> rope_scaling();
  Result<void> llama();
  Result<void> check_llama_heads() const;
  Result<void> frequency_factors();
  Result<void> mla();
  Result<void> mla_heads();
  Result<void> mla_router();
  Result<void> v4();
  Result<void> swiglu_limit();

  const GgufMetadata& metadata_;
  const FindTensor& find_;
  const Read read_;
  const std::string_view architecture_;
  json out_ = json::object();
  FieldNames names_;
};

// ---- of every architecture

Result<void> Translator::decoder() {
  const TensorView* const embedding = find_("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2) {
    return bad_input("{}: expected a matrix token_embd.weight, {}", metadata_.file(),
                     embedding == nullptr ? "it is missing" : "found another shape");
  }
  set("vocab_size", embedding->shape[0], "token_embd.weight, rows");
  VARVE_CHECKED(check_vocabulary());
  VARVE_CHECKED(check_width(embedding->shape[1]));
  out_["tie_word_embeddings"] = !has_tensor("output.weight");
  VARVE_CHECKED(layers());
  VARVE_CHECKED(copy(kDecoderFields));
  VARVE_CHECKED(special_ids());
  return rope_scaling();
}

// The key for it, where it is there, against what there is of each token.
Result<void> Translator::check_vocabulary() const {
  const std::string name = key("vocab_size");
  const auto n_rows = out_["vocab_size"].get<int64_t>();
  VARVE_TRY(const int64_t n, metadata_.integer_or(name, n_rows));
  if (n != n_rows) {
    return metadata_.wrong(name, fmt::format("{}, the rows of token_embd.weight", n_rows));
  }
  const GgufValue* const tokens = metadata_.find("tokenizer.ggml.tokens");
  if (!has("vocab_size") || tokens == nullptr || tokens->n == static_cast<size_t>(n)) return {};
  return metadata_.wrong(name, fmt::format("{}, as many as tokenizer.ggml.tokens", tokens->n));
}

// Before widths of heads follow from it, and are blamed.
Result<void> Translator::check_width(int64_t n_columns) const {
  const std::string name = key("embedding_length");
  VARVE_TRY(const int64_t found, metadata_.integer(name, {1, kMaxWidth}));
  if (found == n_columns) return {};
  return metadata_.wrong(name, fmt::format("{}, the columns of token_embd.weight", n_columns));
}

// Blocks that predict further tokens are counted among the blocks, behind the others.
Result<void> Translator::layers() {
  const std::string name = key("block_count");
  VARVE_TRY(const int64_t n_blocks, metadata_.integer(name, {1, kMaxLayers}));
  VARVE_TRY(const int64_t n_next,
            metadata_.integer_or(key("nextn_predict_layers"), 0, {0, n_blocks - 1}));
  set("num_hidden_layers", n_blocks - n_next, name);
  return {};
}

// Whatever ends a text, a turn or a message ends generation.
Result<void> Translator::special_ids() {
  const std::string prefix = "tokenizer.ggml.";
  VARVE_TRY(const bool has_bos, metadata_.boolean_or(prefix + "add_bos_token", true));
  if (has_bos) VARVE_CHECKED(copy(prefix + "bos_token_id", "bos_token_id"));
  json ends = json::array();
  for (const std::string_view end : {"eos_token_id", "eot_token_id", "eom_token_id"}) {
    const std::string name = fmt::format("{}{}", prefix, end);
    if (metadata_.find(name) == nullptr) continue;
    VARVE_TRY(const int64_t id,
              metadata_.integer(name, {0, out_["vocab_size"].get<int64_t>() - 1}));
    if (std::find(ends.begin(), ends.end(), json(id)) == ends.end()) ends.push_back(id);
  }
  out_["eos_token_id"] = std::move(ends);
  return {};
}

Result<void> Translator::rope_scaling() {
  VARVE_CHECKED(only_one({"rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor",
                          "rope.scaling.yarn_ext_factor"}));
  const std::string name = key("rope.scaling.type");
  VARVE_TRY(const std::string_view type,
            metadata_.string_or(name, has("rope.scaling.factor") ? "linear" : "none"));
  if (type == "none") return {};
  set("rope_scaling.type", std::string(type), name);
  return copy(kScalingFields);
}

// ---- llama, qwen2, qwen3

Result<void> Translator::llama() {
  VARVE_CHECKED(copy(kLlamaFields));
  VARVE_CHECKED(check_llama_heads());
  if (has("expert_count")) {
    VARVE_TRY(const int64_t n_experts, metadata_.integer(key("expert_count"), {0, INT64_MAX}));
    if (n_experts > 0) return metadata_.wrong(key("expert_count"), "0 (no experts run here)");
  }
  out_["model_type"] = architecture_;
  out_["attention_bias"] = architecture_ != "qwen2" && has_tensor("blk.0.attn_q.bias");
  out_["mlp_bias"] = has_tensor("blk.0.ffn_gate.bias");
  if (architecture_ != "llama") return {};
  // Converters turn round the rows of q and k so that neighbours are a pair.
  out_["rope_interleave"] = true;
  if (has("attention.sliding_window")) {
    out_["model_type"] = "mistral";  // which goes by the same name
    VARVE_CHECKED(copy(key("attention.sliding_window"), "sliding_window"));
  }
  return frequency_factors();
}

// Keys and values are as wide, and RoPE turns all of a key.
Result<void> Translator::check_llama_heads() const {
  const IntRange sizes = {1, kMaxWidth};
  VARVE_TRY(const int64_t n_heads, metadata_.integer(key("attention.head_count"), sizes));
  VARVE_TRY(const int64_t hidden, metadata_.integer(key("embedding_length"), sizes));
  if (!has("attention.key_length") && hidden % n_heads != 0) {
    return metadata_.wrong(key("attention.head_count"),
                           fmt::format("a divisor of embedding_length, {}", hidden));
  }
  VARVE_TRY(const int64_t head_dim,
            metadata_.integer_or(key("attention.key_length"), hidden / n_heads, sizes));
  for (const std::string_view end : {"attention.value_length", "rope.dimension_count"}) {
    VARVE_TRY(const int64_t found, metadata_.integer_or(key(end), head_dim, {0, kMaxWidth}));
    if (found != head_dim) {
      return metadata_.wrong(key(end), fmt::format("{}, as a key's head has", head_dim));
    }
  }
  return {};
}

// Llama 3's scaling of RoPE, which is there as what each pair's frequency is divided by.
Result<void> Translator::frequency_factors() {
  const std::string name = "rope_freqs.weight";
  const TensorView* const factors = find_(name);
  if (factors == nullptr || read_ == Read::headers) return {};
  if (out_.contains("rope_scaling")) {
    return metadata_.wrong(key("rope.scaling.type"), fmt::format("none beside tensor {}", name));
  }
  if (factors->type != DType::f32 || factors->shape.size() != 1 ||
      factors->n_elements() > kMaxWidth) {
    return bad_input("{}: tensor {}: expected F32 [head_dim / 2], found {} {}", factors->file, name,
                     dtype_name(factors->type), shape_string(factors->shape));
  }
  json values = json::array();
  for (int64_t i = 0; i < factors->n_elements(); ++i) {
    float value;
    std::memcpy(&value, factors->bytes.data() + static_cast<size_t>(i) * sizeof value,
                sizeof value);
    values.push_back(value);
  }
  out_["rope_scaling"]["type"] = "factors";
  set("rope_scaling.factors", std::move(values), name);
  return {};
}

// ---- deepseek2

Result<void> Translator::mla() {
  VARVE_CHECKED(copy(kMlaFields));
  VARVE_CHECKED(copy(kExpertFields));
  VARVE_CHECKED(mla_heads());
  VARVE_CHECKED(mla_router());
  if (has("attention.temperature_scale")) {
    return metadata_.wrong(key("attention.temperature_scale"), "no such key (it is not honoured)");
  }
  if (!out_.contains("rope_scaling") || out_["rope_scaling"]["type"] != "yarn") return {};
  // A tenth of mscale_all_dim; mscale, of which files say nothing, is the same in published models.
  const std::string name = key("rope.scaling.yarn_log_multiplier");
  const GgufValue* const multiplier = metadata_.find(name);
  if (multiplier == nullptr || multiplier->is_array || !multiplier->number()) {
    return metadata_.wrong(name, "a number");
  }
  VARVE_TRY(const json tenth, element(name, *multiplier, 0));
  for (const std::string_view path : {"rope_scaling.mscale", "rope_scaling.mscale_all_dim"}) {
    set(path, tenth.get<double>() * 10, name);
  }
  return {};
}

// Files in which kv_b is cut into k_b and v_b have the widths of the latent as key_length and
// value_length, and those of a head under names of their own.
Result<void> Translator::mla_heads() {
  const auto of_head = [&](const std::string& end) {
    return key(has(end + "_mla") ? end + "_mla" : end);
  };
  const std::string name = of_head("attention.key_length");
  VARVE_TRY(const int64_t key_dim, metadata_.integer(name, {1, kMaxWidth}));
  VARVE_TRY(const int64_t rope_dim, metadata_.integer(key("rope.dimension_count"), {1, kMaxWidth}));
  if (key_dim <= rope_dim) {
    return metadata_.wrong(name, fmt::format("more than the {} RoPE dims", rope_dim));
  }
  set("qk_nope_head_dim", key_dim - rope_dim, name);
  return copy(of_head("attention.value_length"), "v_head_dim");
}

Result<void> Translator::mla_router() {
  const std::string name = key("expert_gating_func");
  VARVE_TRY(const int64_t gating, metadata_.integer_or(name, kSoftmaxGating, {0, INT64_MAX}));
  if (gating != kSoftmaxGating && gating != kSigmoidGating) {
    return metadata_.wrong(
        name, fmt::format("{} (softmax) or {} (sigmoid)", kSoftmaxGating, kSigmoidGating));
  }
  const bool sigmoid = gating == kSigmoidGating;
  out_["model_type"] = sigmoid ? "deepseek_v3" : "deepseek_v2";
  out_["scoring_func"] = sigmoid ? "sigmoid" : "softmax";
  if (!has("leading_dense_block_count")) out_["first_k_dense_replace"] = 0;
  if (!has("expert_weights_norm")) out_["norm_topk_prob"] = false;
  if (!has("expert_weights_scale")) out_["routed_scaling_factor"] = 1;
  VARVE_TRY(const int64_t n_dense,
            metadata_.integer_or(key("leading_dense_block_count"), 0, {0, kMaxLayers}));
  const bool has_bias = has_tensor(fmt::format("blk.{}.exp_probs_b.bias", n_dense));
  const bool has_groups = has("expert_group_count");
  out_["topk_method"] = has_bias ? "noaux_tc" : has_groups ? "group_limited_greedy" : "greedy";
  if (!has_groups) {
    out_["n_group"] = 1;
    out_["topk_group"] = 1;
    return {};
  }
  VARVE_CHECKED(copy(key("expert_group_count"), "n_group"));
  return copy(key("expert_group_used_count"), "topk_group");
}

// ---- deepseek4

Result<void> Translator::v4() {
  out_["model_type"] = "deepseek_v4";
  VARVE_CHECKED(copy(kV4Fields));
  VARVE_CHECKED(copy(kExpertFields));
  const std::string gating = key("expert_gating_func");
  if (!metadata_.integer(gating, {kSqrtSoftplusGating, kSqrtSoftplusGating})) {
    return metadata_.wrong(gating, fmt::format("{} (sqrtsoftplus)", kSqrtSoftplusGating));
  }
  VARVE_TRY(const int64_t head_dim, metadata_.integer(key("attention.key_length"), {1, kMaxWidth}));
  VARVE_TRY(const int64_t value_dim,
            metadata_.integer_or(key("attention.value_length"), head_dim, {1, kMaxWidth}));
  if (value_dim != head_dim) {
    return metadata_.wrong(key("attention.value_length"),
                           fmt::format("{}, since a key is its value", head_dim));
  }
  return swiglu_limit();
}

// One limit for all experts of all layers: a number, or an array of equal ones.
Result<void> Translator::swiglu_limit() {
  std::optional<double> limit;
  for (const std::string_view end : {"swiglu_clamp_exp", "swiglu_clamp_shexp"}) {
    const std::string name = key(end);
    const GgufValue* const value = metadata_.find(name);
    for (size_t i = 0; value != nullptr && i < value->n; ++i) {
      VARVE_TRY(const json one, element(name, *value, i));
      if (!one.is_number() || (limit && one.get<double>() != *limit)) {
        return metadata_.wrong(name,
                               limit ? fmt::format("{} for every layer", *limit) : "a number");
      }
      limit = one.get<double>();
    }
  }
  names_["swiglu_limit"] = key("swiglu_clamp_exp");
  if (limit) out_["swiglu_limit"] = *limit;
  return {};
}

}  // namespace

Result<JsonObject> config_from_gguf(const GgufMetadata& metadata, const FindTensor& find,
                                    Read read) {
  VARVE_TRY(const std::string_view architecture, metadata.string(kArchitectureKey));
  if (!is_one_of(architecture, kArchitectures)) {
    return metadata.wrong(kArchitectureKey,
                          fmt::format("one that runs ({})", fmt::join(kArchitectures, ", ")));
  }
  return Translator(metadata, find, read, architecture).translate();
}

}  // namespace varve
