#include "convert/vocabulary.h"

#include <filesystem>

#include "base/mapped_file.h"
#include "formats/json_reader.h"
#include "tokenizer/gguf_export.h"
#include "tokenizer/tokenizer.h"

namespace varve {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxTokenizerBytes = size_t{1} << 30;

Result<std::string> chat_template(const fs::path& folder) {
  const std::string path = (folder / "tokenizer_config.json").string();
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::string();
  VARVE_TRY(const JsonObject config, JsonObject::read(path));
  // Some files have several templates by name: none of them is the one.
  if (config.is_array("chat_template")) return std::string();
  return config.string_or("chat_template", "");
}

}  // namespace

Result<std::string> add_vocabulary(const std::string& folder, const deepseek_v4::Config& config,
                                   GgufEntries& entries) {
  const std::string path = (fs::path(folder) / "tokenizer.json").string();
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    return fmt::format("{} is not there: the GGUF file has no vocabulary", path);
  }
  VARVE_TRY(const std::string text, read_text_file(path, kMaxTokenizerBytes));
  VARVE_CHECKED(Tokenizer::parse(text, path));
  const Result<GgufExport> vocabulary =
      export_for_gguf(text, path, static_cast<size_t>(config.vocab_size));
  if (!vocabulary) {
    return fmt::format("the GGUF file has no vocabulary: {}", vocabulary.error().message);
  }
  VARVE_TRY(const std::string chat, chat_template(folder));
  entries.add("tokenizer.ggml.model", "gpt2");
  entries.add("tokenizer.ggml.pre", vocabulary->pre);
  entries.add("tokenizer.ggml.tokens", vocabulary->tokens);
  entries.add("tokenizer.ggml.token_type", vocabulary->token_types);
  entries.add("tokenizer.ggml.merges", vocabulary->merges);
  // As prompts of the directory begin: with the id that config.json names.
  entries.add("tokenizer.ggml.add_bos_token", config.bos_id >= 0);
  if (!chat.empty()) entries.add("tokenizer.chat_template", chat);
  return std::string();
}

}  // namespace varve
