// DeepSeek-V4's encoding of conversations. Its checkpoints carry no template; the rules are those
// of the encoder that ships with them. Turns follow each other with nothing between them:
//
//   BOS system <｜User｜>question<｜Assistant｜></think>answer EOS <｜User｜>question ...
//
// Thinking mode opens an answer with <think> instead; the reasoning ends with </think>. Reasoning
// of turns before the last question is dropped, and those turns look like chat mode's, unless there
// are tools: then all of it stays. The token of a task opens its answer.
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <optional>

#include "chat/chat_format.h"
#include "chat/deepseek_v4_texts.h"
#include "chat/deepseek_v4_turns.h"

namespace varve {
namespace {

using jinja::Value;

constexpr std::string_view kBos = "<｜begin▁of▁sentence｜>";
constexpr std::string_view kEos = "<｜end▁of▁sentence｜>";
constexpr std::string_view kUser = "<｜User｜>";
constexpr std::string_view kAssistant = "<｜Assistant｜>";
constexpr std::string_view kLatestReminder = "<｜latest_reminder｜>";
constexpr std::string_view kAction = "<｜action｜>";
constexpr std::string_view kThink = "<think>";
constexpr std::string_view kEndThink = "</think>";
constexpr std::array<std::string_view, 7> kSpecialTokens = {kBos,   kEos,      kUser, kAssistant,
                                                            kThink, kEndThink, kDsml};

struct Options {
  bool thinks = false;
  bool drops_thinking = true;
  bool has_max_effort = false;
};

bool is_question(std::string_view role) {
  return role == "user" || role == "developer";
}

bool asks_for_thinking(const ChatRequest& request) {
  bool thinks = false;
  for (const auto& [name, value] : request.variables) {
    if (name == "thinking" || name == "enable_thinking") thinks = value.truth();
  }
  return thinks;
}

// 0 where there is none.
size_t last_question(const std::vector<DeepseekV4Turn>& turns) {
  for (size_t i = turns.size(); i-- > 0;) {
    if (is_question(turns[i].role)) return i;
  }
  return 0;
}

// With what was thought before the last question goes what developers said there.
void drop_developers(std::vector<DeepseekV4Turn>& turns) {
  const auto end = turns.begin() + static_cast<std::ptrdiff_t>(last_question(turns));
  turns.erase(std::remove_if(turns.begin(), end,
                             [](const DeepseekV4Turn& turn) { return turn.role == "developer"; }),
              end);
}

// Clients of OpenAI's API ask for one of many; the model knows of the largest alone.
Result<bool> is_max_effort(const Value& effort) {
  constexpr std::array<std::string_view, 7> kEfforts = {"none", "minimal", "low", "medium",
                                                        "high", "xhigh",   "max"};
  if (effort.is_none()) return false;
  const bool is_known = effort.text() != nullptr && std::find(kEfforts.begin(), kEfforts.end(),
                                                              *effort.text()) != kEfforts.end();
  if (is_known) return *effort.text() == "max";
  return bad_input("reasoning_effort: expected one of {}, found {}", fmt::join(kEfforts, ", "),
                   effort.text() == nullptr ? effort.describe() : *effort.text());
}

// Whether the model's turn begins inside of the reasoning.
bool opens_thinking(const ChatRequest& request) {
  if (!asks_for_thinking(request)) return false;
  const jinja::Dict* const last =
      request.messages.empty() ? nullptr : request.messages.back().dict();
  if (last == nullptr) return true;
  const auto has = [&](std::string_view name) {
    const Value* const value = last->find(name);
    return value != nullptr && value->truth();
  };
  // Behind a task stands its answer; an assistant's turn that is open goes on in its content.
  return !has("task") && !has("wo_eos");
}

Result<Options> read_options(const ChatRequest& request) {
  Options options;
  options.thinks = asks_for_thinking(request);
  for (const auto& [name, value] : request.variables) {
    if (name == "drop_thinking") options.drops_thinking = value.truth();
    if (name == "reasoning_effort") {
      VARVE_TRY(options.has_max_effort, is_max_effort(value));
    }
  }
  return options;
}

bool has_tools(const ChatRequest& request) {
  if (request.tools.truth()) return true;
  return std::any_of(request.messages.begin(), request.messages.end(), [](const Value& message) {
    const Value* const tools = message.dict() == nullptr ? nullptr : message.dict()->find("tools");
    return tools != nullptr && tools->truth();
  });
}

// A text that ships with the model; `what` asks for it.
Result<std::string_view> shipped(const Result<std::string>& text, std::string_view what) {
  if (text) return std::string_view(*text);
  return bad_input(
      "the request has {}, and the text that tells DeepSeek-V4 of it was not found: {}", what,
      text.error().message);
}

// Of {"type": "function", "function": SCHEMA}s the schemas, one a line.
Result<std::string> schemas_of(const Value& tools) {
  if (tools.list() == nullptr) {
    return bad_input("tools: expected a list, found {}", tools.describe());
  }
  std::string lines;
  for (const Value& tool : tools.list()->items) {
    const Value* const schema = tool.dict() == nullptr ? nullptr : tool.dict()->find("function");
    if (schema == nullptr || schema->dict() == nullptr) {
      return bad_input("tools: expected objects with a `function`, found {}", tool.describe());
    }
    VARVE_TRY(const std::string json, python_json(*schema));
    if (&tool != tools.list()->items.data()) lines += '\n';
    lines += json;
  }
  return lines;
}

// Renders the turns of one request.
class Encoder {
 public:
  Encoder(const DeepseekV4Texts& texts, const Options& options, bool drops)
      : texts_(texts), options_(options), drops_(drops) {}

  Result<std::string> encode(std::vector<DeepseekV4Turn> turns, bool add_generation_prompt);

 private:
  Result<void> add(const DeepseekV4Turn& turn, bool is_past);
  void add_answer(const DeepseekV4Turn& turn, bool is_past);
  void open_answer(const DeepseekV4Turn& before, bool is_past);
  /// What stands behind a system's or a developer's text.
  Result<void> add_instructions(const DeepseekV4Turn& turn);
  bool shows_thinking(bool is_past) const { return options_.thinks && !(drops_ && is_past); }

  const DeepseekV4Texts& texts_;
  const Options& options_;
  bool drops_;  // what was thought before the last question
  std::string out_;
};

Result<void> Encoder::add_instructions(const DeepseekV4Turn& turn) {
  if (turn.tools.truth()) {
    VARVE_TRY(const std::string schemas, schemas_of(turn.tools));
    VARVE_TRY(const std::string_view text, shipped(texts_.tools, "tools"));
    VARVE_TRY(const std::string filled, fill_in(text, {{"tool_schemas", schemas},
                                                       {"dsml_token", kDsml},
                                                       {"thinking_start_token", kThink},
                                                       {"thinking_end_token", kEndThink}}));
    out_ += "\n\n";
    out_ += filled;
  }
  if (turn.response_format.truth()) {
    VARVE_TRY(const std::string schema, python_json(turn.response_format));
    VARVE_TRY(const std::string_view text, shipped(texts_.response_format, "a response format"));
    VARVE_TRY(const std::string filled, fill_in(text, {{"schema", schema}}));
    out_ += "\n\n";
    out_ += filled;
  }
  return {};
}

void Encoder::add_answer(const DeepseekV4Turn& turn, bool is_past) {
  const bool is_thought = shows_thinking(is_past);
  // What was written in the other mode is not what this one would have read.
  if (turn.raw && turn.raw->is_thought == is_thought) {
    out_ += turn.raw->text;
  } else {
    if (is_thought) {
      out_ += turn.reasoning;
      out_ += kEndThink;
    }
    out_ += turn.content;
    out_ += turn.calls;
  }
  if (!turn.is_open) out_ += kEos;
}

Result<void> Encoder::add(const DeepseekV4Turn& turn, bool is_past) {
  if (turn.role == "assistant") {
    add_answer(turn, is_past);
    return {};
  }
  if (is_question(turn.role)) out_ += kUser;
  if (turn.role == "latest_reminder") out_ += kLatestReminder;
  out_ += turn.content;
  return add_instructions(turn);
}

void Encoder::open_answer(const DeepseekV4Turn& before, bool is_past) {
  if (before.task == kAction) {
    out_ += kAssistant;
    out_ += options_.thinks ? kThink : kEndThink;
  } else if (before.task.empty() && is_question(before.role)) {
    out_ += kAssistant;
    out_ += shows_thinking(is_past) ? kThink : kEndThink;
  }
  out_ += before.task;
}

Result<std::string> Encoder::encode(std::vector<DeepseekV4Turn> turns, bool add_generation_prompt) {
  // First of all: what stands behind a turn depends on the one that follows it then.
  if (options_.thinks && drops_) drop_developers(turns);
  const size_t n = turns.size();
  const size_t last = last_question(turns);
  out_ = kBos;
  if (options_.thinks && options_.has_max_effort && n > 0) {
    VARVE_TRY(const std::string_view text,
              shipped(texts_.max_effort, "the reasoning effort `max`"));
    out_ += text;
  }
  for (size_t i = 0; i < n; ++i) {
    const bool is_past = i < last;
    VARVE_CHECKED(add(turns[i], is_past));
    const bool is_last = i + 1 == n;
    const bool is_answered =
        !is_last && (turns[i + 1].role == "assistant" || turns[i + 1].role == "latest_reminder");
    if (is_answered || (is_last && add_generation_prompt)) open_answer(turns[i], is_past);
  }
  return std::move(out_);
}

class DeepseekV4Format : public ChatFormat {
 public:
  explicit DeepseekV4Format(DeepseekV4Texts texts) : texts_(std::move(texts)) {}

  Result<std::string> render(const ChatRequest& request) const override {
    VARVE_TRY(std::vector<DeepseekV4Turn> turns, deepseek_v4_turns(request));
    VARVE_TRY(const Options options, read_options(request));
    const bool drops = options.drops_thinking && !has_tools(request);
    return Encoder(texts_, options, drops).encode(std::move(turns), request.add_generation_prompt);
  }
  std::unique_ptr<AnswerParser> answer_parser(const ChatRequest& request) const override {
    AnswerSyntax syntax = {.special_tokens = kSpecialTokens};
    if (opens_thinking(request)) syntax.reasoning = AnswerSyntax::Reasoning::open;
    if (has_tools(request)) syntax.calls = AnswerSyntax::Calls::dsml;
    return make_answer_parser(syntax);
  }
  std::string describe() const override { return "DeepSeek-V4's own encoding"; }

 private:
  DeepseekV4Texts texts_;
};

}  // namespace

std::unique_ptr<ChatFormat> make_deepseek_v4_format(DeepseekV4Texts texts) {
  return std::make_unique<DeepseekV4Format>(std::move(texts));
}

}  // namespace varve
