// DeepSeek-V4's encoding of conversations without tools. Its checkpoints carry no template; the
// rules are those of the encoder that ships with them. Turns follow each other with nothing
// between them:
//
//   BOS system <｜User｜>question<｜Assistant｜></think>answer EOS <｜User｜>question ...
//
// Thinking mode opens an answer with <think> instead; the reasoning ends with </think>. Reasoning
// of turns before the last question is dropped, and those turns look like chat mode's.
#include <optional>

#include "chat/chat_format.h"

namespace varve {
namespace {

using jinja::Value;

constexpr std::string_view kBos = "<｜begin▁of▁sentence｜>";
constexpr std::string_view kEos = "<｜end▁of▁sentence｜>";
constexpr std::string_view kUser = "<｜User｜>";
constexpr std::string_view kAssistant = "<｜Assistant｜>";
constexpr std::string_view kLatestReminder = "<｜latest_reminder｜>";
constexpr std::string_view kThink = "<think>";
constexpr std::string_view kEndThink = "</think>";

struct Options {
  bool thinks = false;
  bool drops_thinking = true;
};

bool is_question(std::string_view role) {
  return role == "user" || role == "developer";
}

Result<Options> read_options(const ChatRequest& request) {
  Options options;
  for (const auto& [name, value] : request.variables) {
    if (name == "thinking" || name == "enable_thinking") options.thinks = value.truth();
    if (name == "drop_thinking") options.drops_thinking = value.truth();
    if (name == "reasoning_effort" && value.text() != nullptr && *value.text() == "max") {
      return bad_input("DeepSeek-V4's reasoning effort `max` is not known here");
    }
  }
  return options;
}

// A field of a message that is a string; empty where it is missing or null.
Result<std::string> text_field(const Value& message, std::string_view name) {
  const Value* const value = message.dict()->find(name);
  if (value == nullptr || value->is_none()) return std::string();
  if (value->text() != nullptr) return *value->text();
  return bad_input("message field `{}`: expected a string, found {}", name, value->describe());
}

Result<void> refuse_tools(const ChatRequest& request) {
  bool has_tools = request.tools.truth();
  for (const Value& message : request.messages) {
    for (const std::string_view field : {"tools", "tool_calls", "response_format", "task"}) {
      const Value* const value = message.dict()->find(field);
      has_tools = has_tools || (value != nullptr && value->truth());
    }
  }
  if (!has_tools) return {};
  return bad_input(
      "tools, response formats and tasks of DeepSeek-V4's encoding are not known here");
}

class DeepseekV4Format : public ChatFormat {
 public:
  Result<std::string> render(const ChatRequest& request) const override;
  std::unique_ptr<AnswerParser> answer_parser(const ChatRequest& request) const override;
  std::string describe() const override { return "DeepSeek-V4's own encoding"; }
};

Result<std::string> DeepseekV4Format::render(const ChatRequest& request) const {
  VARVE_CHECKED(refuse_tools(request));
  VARVE_TRY(const Options options, read_options(request));
  const size_t n = request.messages.size();
  std::vector<std::string> roles(n);
  size_t last_question = 0;
  for (size_t i = 0; i < n; ++i) {
    VARVE_TRY(roles[i], text_field(request.messages[i], "role"));
    if (is_question(roles[i])) last_question = i;
  }
  const bool drops = options.thinks && options.drops_thinking;
  std::string out(kBos);
  for (size_t i = 0; i < n; ++i) {
    const bool is_past = i < last_question;
    VARVE_TRY(const std::string content, text_field(request.messages[i], "content"));
    if (roles[i] == "system") {
      out += content;
    } else if (is_question(roles[i])) {
      if (roles[i] == "developer" && drops && is_past) continue;
      out += kUser;
      out += content;
      const bool is_last = i + 1 == n;
      const bool is_answered =
          !is_last && (roles[i + 1] == "assistant" || roles[i + 1] == "latest_reminder");
      if (!is_answered && !(is_last && request.add_generation_prompt)) continue;
      out += kAssistant;
      out += options.thinks && !(drops && is_past) ? kThink : kEndThink;
    } else if (roles[i] == "latest_reminder") {
      out += kLatestReminder;
      out += content;
    } else if (roles[i] == "assistant") {
      if (options.thinks && !(drops && is_past)) {
        VARVE_TRY(const std::string reasoning,
                  text_field(request.messages[i], "reasoning_content"));
        out += reasoning;
        out += kEndThink;
      }
      out += content;
      out += kEos;
    } else {
      return bad_input("message role `{}` is not known in DeepSeek-V4's encoding here", roles[i]);
    }
  }
  return out;
}

std::unique_ptr<AnswerParser> DeepseekV4Format::answer_parser(const ChatRequest& request) const {
  AnswerSyntax syntax;
  const Result<Options> options = read_options(request);
  if (options && options->thinks) syntax.reasoning = AnswerSyntax::Reasoning::open;
  if (request.tools.truth()) syntax.calls = AnswerSyntax::Calls::dsml;
  return make_answer_parser(syntax);
}

}  // namespace

std::unique_ptr<ChatFormat> make_deepseek_v4_format() {
  return std::make_unique<DeepseekV4Format>();
}

}  // namespace varve
