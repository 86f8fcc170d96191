// Chat formats by Jinja templates, and where model directories and GGUF files keep them.
#include <ctime>
#include <filesystem>
#include <utility>

#include "base/mapped_file.h"
#include "chat/chat_format.h"
#include "chat/jinja/json.h"
#include "chat/jinja/template.h"
#include "chat/jinja/text.h"
#include "chat/template_answers.h"
#include "formats/gguf_metadata.h"
#include "tokenizer/gguf_vocabulary.h"

namespace varve {
namespace {

using jinja::Template;
using jinja::Value;
namespace fs = std::filesystem;

constexpr size_t kMaxConfigBytes = size_t{16} << 20;
constexpr std::string_view kGgufTemplate = "tokenizer.chat_template";

// How the answers are written that a template renders, as far as its source tells.
AnswerSyntax syntax_of(std::string_view source) {
  const auto has = [&](std::string_view part) { return source.find(part) != source.npos; };
  AnswerSyntax syntax = {.trims_lines = true};
  if (has("</think>")) syntax.reasoning = AnswerSyntax::Reasoning::optional;
  if (has("<tool_call>")) {
    syntax.calls = AnswerSyntax::Calls::tagged_json;
  } else if (has("ipython") && has("parameters")) {
    syntax.calls = AnswerSyntax::Calls::bare_json;
  }
  return syntax;
}

// Of {"type": "function", "function": {"name": ..}}s.
std::vector<std::string> tool_names(const Value& tools) {
  std::vector<std::string> names;
  if (tools.list() == nullptr) return names;
  for (const Value& tool : tools.list()->items) {
    const Value* const function = tool.dict() == nullptr ? nullptr : tool.dict()->find("function");
    const jinja::Dict* const fields = function == nullptr ? tool.dict() : function->dict();
    const Value* const name = fields == nullptr ? nullptr : fields->find("name");
    if (name != nullptr && name->text() != nullptr) names.push_back(*name->text());
  }
  return names;
}

struct ParsedTemplate {
  static Result<ParsedTemplate> parse(std::string_view source, const std::string& name) {
    VARVE_TRY(Template parsed, Template::parse(source, name));
    return ParsedTemplate{std::move(parsed), syntax_of(source)};
  }

  Template rules;
  AnswerSyntax syntax;
};

class TemplateFormat : public ChatFormat {
 public:
  TemplateFormat(ParsedTemplate usual, std::optional<ParsedTemplate> with_tools, TokenTexts tokens)
      : usual_(std::move(usual)), with_tools_(std::move(with_tools)), tokens_(std::move(tokens)) {}

  Result<std::string> render(const ChatRequest& request) const override;
  std::unique_ptr<AnswerParser> answer_parser(const ChatRequest& request) const override;
  std::string describe() const override { return usual_.rules.name(); }

 private:
  Result<std::string> render_messages(const ChatRequest& request, std::vector<Value> messages,
                                      std::time_t now) const;
  const ParsedTemplate& template_for(const ChatRequest& request) const {
    return request.tools.truth() && with_tools_ ? *with_tools_ : usual_;
  }

  ParsedTemplate usual_;
  std::optional<ParsedTemplate> with_tools_;
  TokenTexts tokens_;
};

Result<std::string> TemplateFormat::render(const ChatRequest& request) const {
  const std::time_t now = std::time(nullptr);
  VARVE_TRY(std::string text, render_messages(request, request.messages, now));
  if (request.raw_answers.empty()) return text;
  return with_raw_answers(request, std::move(text), template_for(request).syntax,
                          [&](std::vector<Value> messages) {
                            return render_messages(request, std::move(messages), now);
                          });
}

Result<std::string> TemplateFormat::render_messages(const ChatRequest& request,
                                                    std::vector<Value> all_messages,
                                                    std::time_t now) const {
  VARVE_TRY(Value messages, jinja::make_list(std::move(all_messages)));
  std::vector<std::pair<Value, Value>> variables;
  const auto add = [&](std::string_view name, Value value) {
    variables.emplace_back(Value::text(std::string(name)), std::move(value));
  };
  for (const auto& [name, text] : tokens_) add(name, Value::text(text));
  add("messages", std::move(messages));
  add("tools", request.tools);
  add("documents", Value::none());
  add("add_generation_prompt", Value(request.add_generation_prompt));
  for (const auto& [name, value] : request.variables) add(name, value);
  VARVE_TRY(const Value all, jinja::make_dict(std::move(variables)));
  return template_for(request).rules.render(*all.dict(), now);
}

std::unique_ptr<AnswerParser> TemplateFormat::answer_parser(const ChatRequest& request) const {
  AnswerSyntax syntax = template_for(request).syntax;
  if (!request.tools.truth()) syntax.calls = AnswerSyntax::Calls::none;
  if (syntax.reasoning != AnswerSyntax::Reasoning::none) {
    // Some templates write the beginning of the reasoning themselves.
    const Result<std::string> text = render(request);
    const bool is_open =
        text && jinja::strip(*text, std::nullopt, jinja::Side::right).ends_with("<think>");
    if (is_open) syntax.reasoning = AnswerSyntax::Reasoning::open;
  }
  return make_answer_parser(syntax, tool_names(request.tools));
}

// Fields of tokenizer_config.json; a token is a string, or an object with its `content`.
TokenTexts special_tokens(const jinja::Dict& config) {
  TokenTexts tokens;
  for (const std::string_view name : {"bos_token", "eos_token", "unk_token", "sep_token",
                                      "pad_token", "cls_token", "mask_token"}) {
    const Value* token = config.find(name);
    if (token != nullptr && token->dict() != nullptr) token = token->dict()->find("content");
    if (token != nullptr && token->text() != nullptr) tokens.emplace_back(name, *token->text());
  }
  return tokens;
}

// `chat_template` as a list of {"name", "template"}.
Result<std::unique_ptr<ChatFormat>> named_templates(const jinja::List& list,
                                                    const std::string& name, TokenTexts tokens) {
  std::optional<ParsedTemplate> usual;
  std::optional<ParsedTemplate> with_tools;
  for (const Value& entry : list.items) {
    const Value* const key = entry.dict() == nullptr ? nullptr : entry.dict()->find("name");
    const Value* const source = entry.dict() == nullptr ? nullptr : entry.dict()->find("template");
    if (key == nullptr || key->text() == nullptr || source == nullptr ||
        source->text() == nullptr) {
      return bad_input("{}: expected objects with `name` and `template`, found {}", name,
                       entry.describe());
    }
    if (*key->text() != "default" && *key->text() != "tool_use") continue;
    VARVE_TRY(ParsedTemplate parsed,
              ParsedTemplate::parse(*source->text(), fmt::format("{} (`{}`)", name, *key->text())));
    (*key->text() == "default" ? usual : with_tools) = std::move(parsed);
  }
  if (!usual) return bad_input("{}: expected a template named `default`, found none", name);
  return std::make_unique<TemplateFormat>(*std::move(usual), std::move(with_tools),
                                          std::move(tokens));
}

// Those that the vocabulary of a GGUF names; it need not have one to be given a template.
Result<TokenTexts> token_texts(const GgufMetadata& metadata) {
  TokenTexts texts;
  if (metadata.find("tokenizer.ggml.model") == nullptr) return texts;
  VARVE_TRY(const GgufVocabulary vocabulary, read_vocabulary(metadata));
  const SpecialTokens& special = vocabulary.special;
  for (const auto& [name, id] : {std::pair("bos_token", special.bos),
                                 {"eos_token", special.eos},
                                 {"unk_token", special.unk},
                                 {"pad_token", special.pad}}) {
    // One that names no token is for the tokenizer to refuse.
    if (id && *id < vocabulary.tokens.size())
      texts.emplace_back(name, std::string(vocabulary.tokens[*id]));
  }
  return texts;
}

Result<std::unique_ptr<ChatFormat>> template_file_format(const std::string& path,
                                                         TokenTexts tokens) {
  VARVE_TRY(const std::string source, read_text_file(path, jinja::kMaxTemplateBytes));
  return make_template_format(source, path, std::move(tokens));
}

}  // namespace

Result<std::unique_ptr<ChatFormat>> make_template_format(std::string_view source,
                                                         const std::string& name,
                                                         TokenTexts tokens) {
  VARVE_TRY(ParsedTemplate parsed, ParsedTemplate::parse(source, name));
  return std::make_unique<TemplateFormat>(std::move(parsed), std::nullopt, std::move(tokens));
}

Result<std::unique_ptr<ChatFormat>> load_chat_format(const std::string& dir,
                                                     std::string_view model_type,
                                                     const std::string& template_file) {
  std::error_code ignored;
  const std::string config_file = (fs::path(dir) / "tokenizer_config.json").string();
  Value config = jinja::make_dict({}).value();
  if (fs::exists(config_file, ignored)) {
    VARVE_TRY(const std::string text, read_text_file(config_file, kMaxConfigBytes));
    VARVE_TRY(config, jinja::from_json(text, config_file));
    if (config.dict() == nullptr) {
      return bad_input("{}: expected a JSON object, found {}", config_file, config.describe());
    }
  }
  TokenTexts tokens = special_tokens(*config.dict());
  if (!template_file.empty()) return template_file_format(template_file, std::move(tokens));
  const std::string beside = (fs::path(dir) / "chat_template.jinja").string();
  if (fs::exists(beside, ignored)) return template_file_format(beside, std::move(tokens));
  if (const Value* const source = config.dict()->find("chat_template")) {
    const std::string name = config_file + ": chat_template";
    if (source->text() != nullptr) {
      return make_template_format(*source->text(), name, std::move(tokens));
    }
    if (source->list() != nullptr) return named_templates(*source->list(), name, std::move(tokens));
    if (!source->is_none()) {
      return bad_input("{}: expected a string or a list, found {}", name, source->describe());
    }
  }
  if (model_type == "deepseek_v4") return make_deepseek_v4_format(read_deepseek_v4_texts(dir));
  return nullptr;
}

Result<std::unique_ptr<ChatFormat>> load_gguf_chat_format(const GgufMetadata& metadata,
                                                          const std::string& template_file) {
  VARVE_TRY(TokenTexts tokens, token_texts(metadata));
  if (!template_file.empty()) return template_file_format(template_file, std::move(tokens));
  VARVE_TRY(const std::string_view source, metadata.string_or(kGgufTemplate, ""));
  if (!source.empty()) {
    return make_template_format(source, fmt::format("{}: {}", metadata.file(), kGgufTemplate),
                                std::move(tokens));
  }
  VARVE_TRY(const std::string_view architecture, metadata.string_or("general.architecture", ""));
  if (architecture == "deepseek4") {
    return make_deepseek_v4_format(read_deepseek_v4_texts(metadata));
  }
  return nullptr;
}

}  // namespace varve
