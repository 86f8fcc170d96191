#include "chat/deepseek_v4_texts.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/mapped_file.h"
#include "chat/python_strings.h"
#include "formats/gguf_metadata.h"

namespace varve {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxModuleBytes = size_t{1} << 20;

// What each text is called.
struct Name {
  Result<std::string> DeepseekV4Texts::* text;
  const char* constant;
  const char* key;
};
constexpr std::array<Name, 3> kNames = {
    {{&DeepseekV4Texts::tools, "TOOLS_TEMPLATE", "varve.chat.tools_template"},
     {&DeepseekV4Texts::response_format, "response_format_template",
      "varve.chat.response_format_template"},
     {&DeepseekV4Texts::max_effort, "REASONING_EFFORT_MAX", "varve.chat.max_effort"}}};

Result<std::string> text_in_module(const Result<std::string>& source, std::string_view name,
                                   const std::string& file) {
  if (!source) return tl::unexpected(source.error());
  VARVE_TRY(std::optional<std::string> text, python_string(*source, name, file));
  if (!text) return bad_input("{}: expected a string named {}, it is missing", file, name);
  return *std::move(text);
}

Result<std::string> text_in_metadata(const GgufMetadata& metadata, std::string_view key) {
  if (metadata.find(key) == nullptr) {
    return bad_input("{}: expected the key `{}`, it is missing", metadata.file(), key);
  }
  VARVE_TRY(const std::string_view text, metadata.string_or(key, ""));
  return std::string(text);
}

}  // namespace

DeepseekV4Texts read_deepseek_v4_texts(const std::string& dir) {
  const std::string file = (fs::path(dir) / "encoding" / "encoding_dsv4.py").string();
  const Result<std::string> source = read_text_file(file, kMaxModuleBytes);
  DeepseekV4Texts texts;
  for (const Name& name : kNames) texts.*name.text = text_in_module(source, name.constant, file);
  return texts;
}

DeepseekV4Texts read_deepseek_v4_texts(const GgufMetadata& metadata) {
  DeepseekV4Texts texts;
  for (const Name& name : kNames) texts.*name.text = text_in_metadata(metadata, name.key);
  return texts;
}

std::vector<std::pair<std::string, std::string>> gguf_entries_of(const DeepseekV4Texts& texts) {
  std::vector<std::pair<std::string, std::string>> entries;
  for (const Name& name : kNames) {
    if (const Result<std::string>& text = texts.*name.text) entries.emplace_back(name.key, *text);
  }
  return entries;
}

std::string python_module_of(const DeepseekV4Texts& texts) {
  std::string module;
  for (const Name& name : kNames) {
    const Result<std::string>& text = texts.*name.text;
    if (text) module += fmt::format("{} = {}\n", name.constant, python_literal(*text));
  }
  return module;
}

Result<std::string> fill_in(
    std::string_view text,
    const std::vector<std::pair<std::string_view, std::string_view>>& values) {
  std::string out;
  while (!text.empty()) {
    const size_t brace = std::min(text.find_first_of("{}"), text.size());
    out += text.substr(0, brace);
    text.remove_prefix(brace);
    if (text.empty()) break;
    if (text.starts_with("{{") || text.starts_with("}}")) {
      out += text.front();
      text.remove_prefix(2);
      continue;
    }
    const size_t end = text.find('}');
    if (text.front() == '}' || end == text.npos) {
      return bad_input("expected braces in pairs, found one alone");
    }
    const std::string_view name = text.substr(1, end - 1);
    const auto value = std::find_if(values.begin(), values.end(),
                                    [&](const auto& one) { return one.first == name; });
    if (value == values.end()) {
      return bad_input("expected names that are known in braces, found {{{}}}", name.substr(0, 60));
    }
    out += value->second;
    text.remove_prefix(end + 1);
  }
  return out;
}

}  // namespace varve
