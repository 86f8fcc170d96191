// The vocabulary of a GGUF file, out of its metadata.
#include "tokenizer/gguf_vocabulary.h"

#include "formats/gguf_metadata.h"

namespace varve {
namespace {

const std::string kPrefix = "tokenizer.ggml.";

Result<std::optional<uint32_t>> id(const GgufMetadata& metadata, std::string_view end) {
  const std::string key = fmt::format("{}{}", kPrefix, end);
  if (metadata.find(key) == nullptr) return std::nullopt;
  VARVE_TRY(const int64_t found, metadata.integer(key, {0, INT32_MAX}));
  return static_cast<uint32_t>(found);
}

// llama.cpp's writers put its null token, -1, where a vocabulary has no such token.
constexpr int64_t kNoToken = UINT32_MAX;

Result<std::optional<uint32_t>> id_or_none(const GgufMetadata& metadata, std::string_view end) {
  const GgufValue* const value = metadata.find(fmt::format("{}{}", kPrefix, end));
  if (value != nullptr && !value->is_array && value->integer() == kNoToken) return std::nullopt;
  return id(metadata, end);
}

Result<std::optional<bool>> flag(const GgufMetadata& metadata, std::string_view end) {
  const std::string key = fmt::format("{}{}", kPrefix, end);
  if (metadata.find(key) == nullptr) return std::nullopt;
  VARVE_TRY(const bool found, metadata.boolean(key));
  return found;
}

Result<SpecialTokens> read_special(const GgufMetadata& metadata) {
  SpecialTokens out;
  VARVE_TRY(out.bos, id(metadata, "bos_token_id"));
  VARVE_TRY(out.eos, id(metadata, "eos_token_id"));
  VARVE_TRY(out.eot, id(metadata, "eot_token_id"));
  VARVE_TRY(out.eom, id(metadata, "eom_token_id"));
  VARVE_TRY(out.unk, id_or_none(metadata, "unknown_token_id"));
  VARVE_TRY(out.pad, id_or_none(metadata, "padding_token_id"));
  VARVE_TRY(out.add_bos, flag(metadata, "add_bos_token"));
  VARVE_TRY(out.add_eos, flag(metadata, "add_eos_token"));
  VARVE_TRY(const std::string_view chat, metadata.string_or("tokenizer.chat_template", ""));
  out.chat_template = chat;
  return out;
}

}  // namespace

Result<GgufVocabulary> read_vocabulary(const GgufMetadata& metadata) {
  GgufVocabulary out;
  VARVE_TRY(out.model, metadata.string(kPrefix + "model"));
  VARVE_TRY(out.pre, metadata.string_or(kPrefix + "pre", ""));
  VARVE_TRY(const auto tokens, metadata.strings(kPrefix + "tokens"));
  out.tokens.assign(tokens.begin(), tokens.end());
  VARVE_TRY(const auto types, metadata.integers(kPrefix + "token_type", {INT32_MIN, INT32_MAX}));
  out.token_types.assign(types.begin(), types.end());
  if (metadata.find(kPrefix + "merges") != nullptr) {
    VARVE_TRY(const auto merges, metadata.strings(kPrefix + "merges"));
    out.merges.assign(merges.begin(), merges.end());
  }
  VARVE_TRY(out.special, read_special(metadata));
  return out;
}

}  // namespace varve
