#include "tokenizer/gguf_tokenizer.h"

#include <array>
#include <utility>

#include "tokenizer/byte_alphabet.h"
#include "tokenizer/gguf_pretokenizer.h"
#include "tokenizer/quote.h"
#include "tokenizer/utf8.h"

namespace varve {
namespace {

constexpr size_t kMaxTokens = size_t{kMaxId} + 1;
constexpr size_t kMaxTokenBytes = size_t{1} << 30;  // of all tokens together

Result<void> check_model(std::string_view model, const std::string& where) {
  if (model == "gpt2") return {};
  return bad_input(
      "{}: expected \"gpt2\" (byte-level BPE; SentencePiece, WordPiece and others are "
      "not supported), found {}",
      where, model.empty() ? "none" : in_quotes(model));
}

Result<const GgufPre*> find_pre(std::string_view name, const std::string& where) {
  if (const GgufPre* const pre = find_gguf_pre(name)) return pre;
  if (name.empty()) {
    return bad_input(
        "{}: expected {}, found none: the file was converted before there were such "
        "names, and how its text is cut is not known",
        where, gguf_pre_names());
  }
  return bad_input("{}: expected {}, found {}", where, gguf_pre_names(), in_quotes(name));
}

Result<void> check_special(const SpecialTokens& special, size_t n_tokens, const std::string& key) {
  const std::array<std::pair<std::string_view, std::optional<uint32_t>>, 6> ids = {{
      {"bos_token_id", special.bos},
      {"eos_token_id", special.eos},
      {"eot_token_id", special.eot},
      {"eom_token_id", special.eom},
      {"unknown_token_id", special.unk},
      {"padding_token_id", special.pad},
  }};
  for (const auto& [name, id] : ids) {
    if (id && *id >= n_tokens) {
      return bad_input("{}{}: expected an id below the {} tokens, found {}", key, name, n_tokens,
                       *id);
    }
  }
  return {};
}

Result<void> check_sizes(const GgufVocabulary& in, const std::string& key) {
  if (in.tokens.empty() || in.tokens.size() > kMaxTokens) {
    return bad_input("{}tokens: expected 1 to {} tokens, found {}", key, kMaxTokens,
                     in.tokens.size());
  }
  if (in.token_types.size() != in.tokens.size()) {
    return bad_input("{}token_type: expected one for each of the {} tokens, found {}", key,
                     in.tokens.size(), in.token_types.size());
  }
  size_t n_bytes = 0;
  for (const std::string_view token : in.tokens) n_bytes += token.size();
  if (n_bytes > kMaxTokenBytes) {
    return bad_input("{}tokens: expected at most {} bytes, found {}", key, kMaxTokenBytes, n_bytes);
  }
  return {};
}

// Whether the byte alphabet spells `text` by itself (ASCII without spaces, mostly). Such a token
// may be a piece of merges as well.
bool spells_itself(std::string_view text) {
  std::string bytes;
  return append_spelt_bytes(text, bytes) && bytes == text;
}

// The token `id`, to the vocabulary and, if texts are searched for it, to `added`.
Result<void> add_token(const GgufVocabulary& in, size_t id, const std::string& key,
                       Vocabulary& vocabulary, std::vector<AddedToken>& added) {
  const std::string_view text = in.tokens[id];
  const auto type = static_cast<GgufTokenType>(in.token_types[id]);
  if (text.empty() || !is_utf8(text)) {
    return bad_input("{}tokens[{}]: expected a text in UTF-8, found {}", key, id, in_quotes(text));
  }
  if (type < GgufTokenType::normal || type >= GgufTokenType::byte) {
    return bad_input(
        "{}token_type[{}]: expected 1 to 5 (normal, unknown, control, user-defined, "
        "unused), found {}",
        key, id, in.token_types[id]);
  }
  if (type == GgufTokenType::normal || spells_itself(text)) {
    vocabulary.add(text, static_cast<int32_t>(id));
  } else {
    vocabulary.add_literal(text, static_cast<int32_t>(id));
  }
  if (type != GgufTokenType::normal && type != GgufTokenType::unused) {
    AddedToken token;
    token.content = text;
    token.id = static_cast<int32_t>(id);
    token.special = type != GgufTokenType::user_defined;
    added.push_back(std::move(token));
  }
  return {};
}

}  // namespace

Result<TokenizerFile> read_gguf_vocabulary(const GgufVocabulary& in, const std::string& name) {
  const std::string key = name + ": tokenizer.ggml.";
  VARVE_CHECKED(check_model(in.model, key + "model"));
  VARVE_TRY(const GgufPre* const pre, find_pre(in.pre, key + "pre"));
  VARVE_CHECKED(check_sizes(in, key));
  VARVE_CHECKED(check_special(in.special, in.tokens.size(), key));

  TokenizerFile file;
  file.vocabulary_field = "tokenizer.ggml.tokens";
  VARVE_TRY(file.pretokenizer, make_pretokenizer(*pre, key + "pre"));
  std::vector<AddedToken> added;
  for (size_t id = 0; id < in.tokens.size(); ++id) {
    VARVE_CHECKED(add_token(in, id, key, file.vocabulary, added));
  }
  VARVE_CHECKED(file.vocabulary.index(key + "tokens"));
  VARVE_CHECKED(file.vocabulary.index_ids(key + "tokens"));
  VARVE_TRY(file.added, AddedTokens::make(std::move(added), key + "tokens"));

  MergeTable merges;
  const std::string merges_field = key + "merges";
  for (const std::string_view merge : in.merges) {
    VARVE_CHECKED(merges.add(merge, file.vocabulary, merges_field));
  }
  VARVE_CHECKED(merges.index(merges_field, file.vocabulary));
  file.bpe = Bpe(file.vocabulary, std::move(merges), pre->ignore_merges);
  return file;
}

bool begins_with_bos(const GgufVocabulary& vocabulary) {
  if (vocabulary.special.add_bos) return *vocabulary.special.add_bos;
  const GgufPre* const pre = find_gguf_pre(vocabulary.pre);
  return pre != nullptr && pre->add_bos;
}

}  // namespace varve
