#include "cli/chat_model.h"

#include <filesystem>

#include "formats/checkpoint.h"
#include "formats/json_reader.h"

namespace varve::cli {
namespace {

// What config.json says the model is; empty where there is none.
Result<std::string> model_type_of(const std::string& dir) {
  const std::string path = (std::filesystem::path(dir) / "config.json").string();
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return std::string();
  VARVE_TRY(const JsonObject config, JsonObject::read(path));
  return config.string_or("model_type", "");
}

}  // namespace

Result<std::unique_ptr<ChatFormat>> format_of_model(const std::string& path,
                                                    const std::string& template_file) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    VARVE_TRY(const std::string model_type, model_type_of(path));
    return load_chat_format(path, model_type, template_file);
  }
  VARVE_TRY(const Checkpoint checkpoint, Checkpoint::open(path));
  const GgufMetadata* const gguf = checkpoint.gguf();
  if (gguf == nullptr) {
    return bad_input("{}: expected a GGUF file or a model directory, found a safetensors file",
                     path);
  }
  return load_gguf_chat_format(*gguf, template_file);
}

Result<std::vector<std::pair<std::string, jinja::Value>>> think_variables(
    const std::string& think) {
  if (think.empty()) return {};
  if (think != "yes" && think != "no") {
    return usage_error("--think {}: expected 'yes' or 'no'", think);
  }
  // Qwen3's name for it, and DeepSeek's.
  const jinja::Value value(think == "yes");
  return std::vector<std::pair<std::string, jinja::Value>>{{"enable_thinking", value},
                                                           {"thinking", value}};
}

}  // namespace varve::cli
