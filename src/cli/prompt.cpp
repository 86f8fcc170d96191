#include "cli/prompt.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/mapped_file.h"
#include "tokenizer/gguf_vocabulary.h"

namespace varve::cli {
namespace {

constexpr size_t kMaxPromptBytes = size_t{1} << 30;

Result<Tokenizer> read_tokenizer(const std::string& path, const Model& model) {
  const GgufMetadata* const gguf = model.checkpoint().gguf();
  if (gguf == nullptr) return Tokenizer::load(path);
  VARVE_TRY(const GgufVocabulary vocabulary, read_vocabulary(*gguf));
  return Tokenizer::from_gguf(vocabulary, path);
}

// The id that prompts begin with; -1: none. Of a GGUF file that says nothing of it, what its kind
// of tokenizer does.
Result<int32_t> first_id(const Model& model) {
  const GgufMetadata* const gguf = model.checkpoint().gguf();
  if (gguf == nullptr) return model.bos_id();
  VARVE_TRY(const GgufVocabulary vocabulary, read_vocabulary(*gguf));
  return begins_with_bos(vocabulary) ? model.bos_id() : -1;
}

}  // namespace

Result<Tokenizer> load_tokenizer(const std::string& model_path, const Model& model) {
  const bool is_gguf = model.checkpoint().gguf() != nullptr;
  const std::string path =
      is_gguf ? model_path : (std::filesystem::path(model_path) / "tokenizer.json").string();
  VARVE_TRY(Tokenizer tokenizer, read_tokenizer(path, model));
  if (tokenizer.vocab_size() > model.vocab_size()) {
    return bad_input("{}: ids go up to {}, the model's vocabulary has {}", path,
                     tokenizer.vocab_size() - 1, model.vocab_size());
  }
  return tokenizer;
}

Result<std::vector<int32_t>> encode_prompt(const Tokenizer& tokenizer, const Model& model,
                                           const std::string& text, const std::string& bos) {
  if (bos != "auto" && bos != "no") return usage_error("--bos {}: expected 'auto' or 'no'", bos);
  VARVE_TRY(std::vector<int32_t> ids, tokenizer.encode(text));
  VARVE_TRY(const int32_t id, first_id(model));
  if (bos == "auto" && id >= 0 && (ids.empty() || ids.front() != id)) ids.insert(ids.begin(), id);
  return ids;
}

Result<std::string> read_text(const std::string& path_or_dash) {
  if (path_or_dash != "-") return read_text_file(path_or_dash, kMaxPromptBytes);
  std::string text;
  char buffer[65536];
  size_t n;
  while ((n = std::fread(buffer, 1, sizeof buffer, stdin)) > 0) {
    text.append(buffer, n);
    if (text.size() > kMaxPromptBytes) {
      return usage_error("standard input has over {} bytes", kMaxPromptBytes);
    }
  }
  if (std::ferror(stdin) != 0) {
    return bad_input("cannot read standard input: {}", std::strerror(errno));
  }
  return text;
}

}  // namespace varve::cli
