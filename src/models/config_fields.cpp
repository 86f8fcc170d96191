#include "models/config_fields.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace varve {

bool is_one_of(std::string_view name, std::span<const std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Result<void> read_int(const JsonObject& from, std::string_view key, int& out, IntRange range) {
  VARVE_TRY(const int64_t n, from.integer(key, range));
  out = static_cast<int>(n);
  return {};
}

Result<void> read_int_or(const JsonObject& from, std::string_view key, int& out, int missing,
                         IntRange range) {
  VARVE_TRY(const int64_t n, from.integer_or(key, missing, range));
  out = static_cast<int>(n);
  return {};
}

Result<void> read_int_or_null(const JsonObject& from, std::string_view key, int& out, int64_t max) {
  if (!from.is_null(key)) return read_int(from, key, out, {0, max});
  out = 0;
  return {};
}

Result<void> read_only(const JsonObject& from, std::initializer_list<std::string_view> keys,
                       std::string_view expected) {
  for (const std::string_view key : keys) {
    VARVE_TRY(const std::string found, from.string_or(key, std::string(expected)));
    if (found != expected) return from.wrong(key, fmt::format("\"{}\"", expected));
  }
  return {};
}

Result<void> read_decoder_fields(const JsonObject& root, std::span<const std::string_view> known,
                                 DecoderConfig& out) {
  VARVE_TRY(out.model_type, root.string("model_type"));
  if (!is_one_of(out.model_type, known)) {
    return root.wrong("model_type", fmt::format("{}", fmt::join(known, ", ")));
  }
  VARVE_CHECKED(read_int(root, "vocab_size", out.vocab_size, {1, kMaxVocab}));
  VARVE_CHECKED(read_int(root, "hidden_size", out.hidden_size));
  VARVE_CHECKED(read_int(root, "num_hidden_layers", out.n_layers, {1, kMaxLayers}));
  VARVE_CHECKED(read_int(root, "max_position_embeddings", out.max_position, {1, kMaxTokens}));
  VARVE_TRY(const double eps, root.number_or("rms_norm_eps", 1e-6, {0, 1}));
  out.rms_eps = static_cast<float>(eps);
  VARVE_CHECKED(read_only(root, {"hidden_act", "hidden_activation"}, "silu"));
  VARVE_TRY(out.tied_head, root.boolean_or("tie_word_embeddings", false));
  return read_fp8_blocks(root, out);
}

Result<void> read_special_ids(const JsonObject& root, std::optional<int> missing_eos,
                              DecoderConfig& out) {
  const IntRange ids = {0, out.vocab_size - 1};
  VARVE_CHECKED(read_int_or(root, "bos_token_id", out.bos_id, -1, ids));
  if (root.is_null("eos_token_id")) return {};
  if (!root.has("eos_token_id") && missing_eos) {
    if (*missing_eos >= 0 && *missing_eos < out.vocab_size) out.eos_ids = {*missing_eos};
    return {};
  }
  if (root.is_array("eos_token_id")) {
    VARVE_TRY(const std::vector<int64_t> found, root.integers("eos_token_id", ids));
    for (const int64_t id : found) out.eos_ids.push_back(static_cast<int>(id));
    return {};
  }
  VARVE_TRY(const int64_t only, root.integer("eos_token_id", ids));
  out.eos_ids = {static_cast<int>(only)};
  return {};
}

Result<void> read_fp8_blocks(const JsonObject& root, DecoderConfig& out) {
  if (!root.has("quantization_config")) return {};
  VARVE_TRY(const JsonObject quant, root.object("quantization_config"));
  VARVE_CHECKED(read_only(quant, {"quant_method"}, "fp8"));
  VARVE_CHECKED(read_only(quant, {"fmt"}, "e4m3"));
  if (!quant.has("weight_block_size")) return {};
  VARVE_TRY(const std::vector<int64_t> block, quant.integers("weight_block_size", {1, 1 << 16}));
  if (block.size() != 2) return quant.wrong("weight_block_size", "an array of 2 integers");
  out.fp8_block_rows = static_cast<int>(block[0]);
  out.fp8_block_cols = static_cast<int>(block[1]);
  return {};
}

std::string_view rope_type_key(const JsonObject& rope) {
  return rope.has("rope_type") ? "rope_type" : "type";
}

Result<RopeFields> read_rope_fields(const JsonObject& root) {
  const FloatRange thetas = {1, 1e12, true};
  RopeFields out;
  VARVE_TRY(out.theta, root.number_or("rope_theta", out.theta, thetas));
  const std::string_view key = root.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  if (!root.has(key)) return out;
  VARVE_TRY(out.scaling, root.object(key));
  VARVE_TRY(out.theta, out.scaling->number_or("rope_theta", out.theta, thetas));
  out.type_key = rope_type_key(*out.scaling);
  VARVE_TRY(out.type, out.scaling->string_or(out.type_key, out.type));
  return out;
}

Result<void> read_betas(const JsonObject& from, YarnScaling& yarn) {
  VARVE_TRY(yarn.beta_fast, from.number_or("beta_fast", yarn.beta_fast, {1e-3, 1e6}));
  VARVE_TRY(yarn.beta_slow, from.number_or("beta_slow", yarn.beta_slow, {1e-3, 1e6}));
  if (yarn.beta_slow > yarn.beta_fast) {
    return from.wrong("beta_slow", fmt::format("at most `beta_fast` ({})", yarn.beta_fast));
  }
  return {};
}

Result<YarnScaling> read_yarn(const JsonObject& rope, std::optional<int> missing_original) {
  constexpr std::string_view kOriginal = "original_max_position_embeddings";
  YarnScaling yarn;
  VARVE_TRY(const bool truncate, rope.boolean_or("truncate", true));
  if (!truncate) return rope.wrong("truncate", "true");
  VARVE_TRY(yarn.factor, rope.number("factor", {1, 1e6}));
  VARVE_CHECKED(read_betas(rope, yarn));
  if (missing_original && !rope.has(kOriginal)) {
    yarn.original_max_position = *missing_original;
    return yarn;
  }
  VARVE_CHECKED(read_int(rope, kOriginal, yarn.original_max_position, {1, kMaxTokens}));
  return yarn;
}

int yarn_reach(const YarnScaling& yarn) {
  const double reach = std::floor(yarn.factor * yarn.original_max_position);
  return static_cast<int>(std::min(reach, static_cast<double>(kMaxTokens)));
}

Result<void> check_sizes(const std::string& file, std::initializer_list<SizeLimit> sizes) {
  for (const SizeLimit& of : sizes) {
    if (of.size <= of.limit) continue;
    return bad_input("{}: {} is {}; at most {} run here", file, of.name, of.size, of.limit);
  }
  return {};
}

Result<void> check_cache(const std::string& file, const CacheShape& shape) {
  int64_t block = 0, detail = 0;
  for (const LayerShape& layer : shape.layers) {
    const int64_t of_token = int64_t{2} * layer.n_kv_heads * layer.head_dim;
    block += layer.window == 0 ? of_token * kBlockTokens : 0;
    block += int64_t{layer.entries_per_block()} * (layer.head_dim + layer.index_dim);
    detail += of_token * kBlockTokens * layer.ring_blocks();
    detail += int64_t{shape.window} * layer.head_dim;
    detail += int64_t{2} * layer.state_tokens() * (layer.state_width() + layer.index_state_width());
  }
  return check_sizes(
      file, {{"num_hidden_layers x values kept of 128 tokens", block, kMaxCacheBlockValues},
             {"num_hidden_layers x values kept of a window", detail, kMaxDetailValues}});
}

}  // namespace varve
