// Fields of config.json that families spell alike.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "attention/rope.h"
#include "base/result.h"
#include "formats/json_reader.h"
#include "kvcache/shape.h"
#include "models/decoder_config.h"

namespace varve {

// Bounds that no model comes near and within which no product of two sizes leaves an int, where
// products that could are held to kMaxProduct.
inline constexpr int64_t kMaxWidth = 1 << 20;
inline constexpr int64_t kMaxProduct = 1 << 29;
inline constexpr int64_t kMaxTokens = 1 << 30;
inline constexpr int64_t kMaxLayers = 4096;
inline constexpr int64_t kMaxVocab = 1 << 24;

// Of a cache: values that all layers keep of a block of tokens, and of the newest ones. As f32 rows
// of kMaxTokens tokens in each of 64 sequences the blocks are 2^62 bytes then, and the newest
// tokens' rows, with 1024 resume points, 2^59: no sum of a plan leaves a size_t.
inline constexpr int64_t kMaxCacheBlockValues = int64_t{kBlockTokens} << 24;
inline constexpr int64_t kMaxDetailValues = int64_t{1} << 40;

bool is_one_of(std::string_view name, std::span<const std::string_view> names);

/// An integer that fits an int.
Result<void> read_int(const JsonObject& from, std::string_view key, int& out,
                      IntRange range = {1, kMaxWidth});
Result<void> read_int_or(const JsonObject& from, std::string_view key, int& out, int missing,
                         IntRange range = {1, kMaxWidth});
/// An integer from 0 on, or null for 0. A missing field is an error: published readers take it
/// for the size of some model of theirs.
Result<void> read_int_or_null(const JsonObject& from, std::string_view key, int& out,
                              int64_t max = kMaxWidth);
/// Refuses a string that is there and not `expected`.
Result<void> read_only(const JsonObject& from, std::initializer_list<std::string_view> keys,
                       std::string_view expected);

/// The fields of DecoderConfig as Transformers spells them, those of read_special_ids left out;
/// `model_type` is one of `known`, and the activation has to be SiLU.
Result<void> read_decoder_fields(const JsonObject& root, std::span<const std::string_view> known,
                                 DecoderConfig& out);

/// `bos_token_id` (-1 where there is none: whether prompts begin with a default one is up to the
/// tokenizer) and `eos_token_id`, a number, an array, or null for none; ids lie in [0, vocab_size).
/// `missing_eos` stands in for an `eos_token_id` that is not there, -1 for none; without it the
/// field has to be given.
Result<void> read_special_ids(const JsonObject& root, std::optional<int> missing_eos,
                              DecoderConfig& out);

/// `quantization_config`, which may be missing: fp8 in e4m3, with a scale for each block of
/// `weight_block_size`. Others are refused.
Result<void> read_fp8_blocks(const JsonObject& root, DecoderConfig& out);

/// What a config.json says of RoPE before it comes to the scaling's own numbers.
struct RopeFields {
  double theta = 10000;
  std::optional<JsonObject> scaling;  // rope_parameters or rope_scaling
  std::string_view type_key;          // of `scaling`, for messages: rope_type or, older, type
  std::string type = "default";       // of scaling
};
Result<RopeFields> read_rope_fields(const JsonObject& root);
/// The field of a RoPE dictionary that names its type: rope_type or, older, type.
std::string_view rope_type_key(const JsonObject& rope);

/// The ramp of YaRN, `beta_fast` and `beta_slow`, which may be missing.
Result<void> read_betas(const JsonObject& from, YarnScaling& yarn);
/// YaRN's stretch of the angles out of its dictionary; `missing_original` stands in for
/// `original_max_position_embeddings`, which has to be given where there is none.
Result<YarnScaling> read_yarn(const JsonObject& rope,
                              std::optional<int> missing_original = std::nullopt);
/// Tokens that the stretched angles are good for; at most kMaxTokens.
int yarn_reach(const YarnScaling& yarn);

/// A size that a workspace of fixed size has to hold.
struct SizeLimit {
  std::string_view name;  // the fields it comes from
  int64_t size;
  int64_t limit;
};
/// Refuses the first one above its limit; `file` names the config in the message.
Result<void> check_sizes(const std::string& file, std::initializer_list<SizeLimit> sizes);

/// Refuses a cache above kMaxCacheBlockValues or kMaxDetailValues; check_sizes has seen its widths.
Result<void> check_cache(const std::string& file, const CacheShape& shape);

}  // namespace varve
