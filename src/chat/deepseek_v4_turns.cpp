#include "chat/deepseek_v4_turns.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "chat/jinja/json.h"

namespace varve {
namespace {

using jinja::Value;

// A part of a user's turn.
struct Part {
  bool is_result = false;
  std::string call_id = {};
  std::string text = {};
};

Result<const jinja::Dict*> object(const Value& value, std::string_view what) {
  if (value.dict() != nullptr) return value.dict();
  return bad_input("{}: expected an object, found {}", what, value.describe());
}

// Null where it is missing or null.
const Value* field(const jinja::Dict& fields, std::string_view name) {
  const Value* const value = fields.find(name);
  return value == nullptr || value->is_none() ? nullptr : value;
}

// A field that is a string; empty where it is missing or null.
Result<std::string> text_field(const jinja::Dict& fields, std::string_view name) {
  const Value* const value = field(fields, name);
  if (value == nullptr) return std::string();
  if (value->text() != nullptr) return *value->text();
  return bad_input("message field `{}`: expected a string, found {}", name, value->describe());
}

// Content may be a list of parts, of which texts alone are known to the model. In a tool's result
// others leave a note.
Result<std::string> content_text(const jinja::Dict& message, bool is_result) {
  const Value* const content = field(message, "content");
  if (content == nullptr || content->list() == nullptr) return text_field(message, "content");
  std::string text;
  for (const Value& item : content->list()->items) {
    VARVE_TRY(const jinja::Dict* const part, object(item, "a part of message field `content`"));
    VARVE_TRY(const std::string type, text_field(*part, "type"));
    if (&item != content->list()->items.data()) text += "\n\n";
    if (type == "text") {
      VARVE_TRY(const std::string piece, text_field(*part, "text"));
      text += piece;
    } else if (is_result) {
      text += fmt::format("[Unsupported {}]", type);
    } else {
      return bad_input("message field `content`: expected parts of type `text`, found `{}`", type);
    }
  }
  return text;
}

// The token of a message's task; empty where it has none.
Result<std::string> task_token(const jinja::Dict& message) {
  constexpr std::array<std::string_view, 6> kTasks = {"action", "query", "authority",
                                                      "domain", "title", "read_url"};
  VARVE_TRY(const std::string task, text_field(message, "task"));
  if (task.empty()) return task;
  if (std::find(kTasks.begin(), kTasks.end(), task) == kTasks.end()) {
    return bad_input("message field `task`: expected one of {}, found `{}`",
                     fmt::join(kTasks, ", "), task);
  }
  return fmt::format("<｜{}｜>", task);
}

// The arguments of a call, whose text need not be JSON: it is then one argument.
Result<Value> arguments_of(const jinja::Dict& function) {
  const Value* const arguments = field(function, "arguments");
  if (arguments == nullptr) return jinja::make_dict({});
  if (arguments->text() == nullptr) {
    VARVE_CHECKED(object(*arguments, "arguments of a tool call"));
    return *arguments;
  }
  Result<Value> parsed = jinja::from_json(*arguments->text(), "arguments");
  if (parsed && parsed->dict() != nullptr) return parsed;
  return jinja::make_dict({{Value::text("arguments"), *arguments}});
}

Result<std::string> dsml_invoke(const Value& call) {
  VARVE_TRY(const jinja::Dict* const fields, object(call, "a tool call"));
  const Value* const inner = field(*fields, "function");
  if (inner == nullptr) return bad_input("a tool call: field `function` is missing");
  VARVE_TRY(const jinja::Dict* const function, object(*inner, "field `function` of a tool call"));
  VARVE_TRY(const std::string name, text_field(*function, "name"));
  VARVE_TRY(const Value arguments, arguments_of(*function));
  std::string lines;
  for (const auto& [key, value] : arguments.dict()->entries) {
    const bool is_string = value.text() != nullptr;
    Result<std::string> text = is_string ? *value.text() : python_json(value);
    if (!text) return text;
    if (!lines.empty()) lines += '\n';
    lines += fmt::format("<{0}parameter name=\"{1}\" string=\"{2}\">{3}</{0}parameter>", kDsml,
                         key.text() == nullptr ? "" : *key.text(), is_string, *text);
  }
  return fmt::format("<{0}invoke name=\"{1}\">\n{2}\n</{0}invoke>", kDsml, name, lines);
}

class TurnReader {
 public:
  Result<void> read(const ChatRequest& request);
  std::vector<DeepseekV4Turn> turns() && { return std::move(turns_); }

 private:
  Result<void> add(const jinja::Dict& message, std::string_view role, const RawAnswer* raw);
  Result<void> read_calls(const jinja::Dict& message, DeepseekV4Turn& turn);
  Result<void> add_request_tools(const Value& tools);
  void end_user_turn(std::string task = {});

  std::vector<DeepseekV4Turn> turns_;
  std::vector<Part> parts_;              // of the user's turn that is being read
  std::map<std::string, size_t> order_;  // of the last calls, by their ids
};

Result<void> TurnReader::read_calls(const jinja::Dict& message, DeepseekV4Turn& turn) {
  const Value* const calls = field(message, "tool_calls");
  if (calls == nullptr || !calls->truth()) return {};
  if (calls->list() == nullptr) {
    return bad_input("message field `tool_calls`: expected a list, found {}", calls->describe());
  }
  order_.clear();
  turn.calls = fmt::format("\n\n<{}tool_calls>\n", kDsml);
  for (const Value& call : calls->list()->items) {
    VARVE_TRY(const std::string text, dsml_invoke(call));
    turn.calls += text;
    turn.calls += '\n';
    VARVE_TRY(std::string id, text_field(*call.dict(), "id"));
    const size_t place = order_.size();
    if (!id.empty()) order_.emplace(std::move(id), place);
  }
  turn.calls += fmt::format("</{}tool_calls>", kDsml);
  return {};
}

void TurnReader::end_user_turn(std::string task) {
  if (parts_.empty()) return;
  std::vector<std::pair<size_t, size_t>> results;  // places in the order of the calls, in parts_
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (!parts_[i].is_result) continue;
    const auto found = order_.find(parts_[i].call_id);
    results.emplace_back(found == order_.end() ? 0 : found->second, i);
  }
  std::sort(results.begin(), results.end());
  DeepseekV4Turn turn = {.role = "user", .task = std::move(task)};
  size_t next = 0;
  for (const Part& part : parts_) {
    if (&part != parts_.data()) turn.content += "\n\n";
    turn.content += part.is_result ? fmt::format("<tool_result>{}</tool_result>",
                                                 parts_[results[next++].second].text)
                                   : part.text;
  }
  turns_.push_back(std::move(turn));
  parts_.clear();
}

Result<void> TurnReader::add(const jinja::Dict& message, std::string_view role,
                             const RawAnswer* raw) {
  if (role == "tool") {
    VARVE_TRY(std::string text, content_text(message, true));
    VARVE_TRY(std::string id, text_field(message, "tool_call_id"));
    parts_.push_back({true, std::move(id), std::move(text)});
    return {};
  }
  VARVE_TRY(std::string content, content_text(message, false));
  VARVE_TRY(std::string task, task_token(message));
  if (role == "user") {
    parts_.push_back({false, {}, std::move(content)});
    if (!task.empty()) end_user_turn(std::move(task));
    return {};
  }
  end_user_turn();
  DeepseekV4Turn turn = {
      .role = std::string(role), .content = std::move(content), .task = std::move(task)};
  if (role == "assistant") {
    const Value* const is_open = field(message, "wo_eos");
    turn.is_open = is_open != nullptr && is_open->truth();
    VARVE_TRY(turn.reasoning, text_field(message, "reasoning_content"));
    VARVE_CHECKED(read_calls(message, turn));
    if (raw != nullptr) turn.raw = *raw;
  } else if (role == "system" || role == "developer") {
    if (const Value* const tools = field(message, "tools")) turn.tools = *tools;
    if (const Value* const format = field(message, "response_format")) {
      turn.response_format = *format;
    }
  } else if (role != "latest_reminder") {
    return bad_input("message role `{}` is not known in DeepSeek-V4's encoding here", role);
  }
  turns_.push_back(std::move(turn));
  return {};
}

Result<void> TurnReader::add_request_tools(const Value& tools) {
  if (!tools.truth()) return {};
  if (turns_.empty() || turns_.front().role != "system") {
    turns_.insert(turns_.begin(), DeepseekV4Turn{.role = "system"});
  }
  Value& place = turns_.front().tools;
  if (place.truth()) {
    return bad_input("expected tools in the request or in its first message, found both");
  }
  place = tools;
  return {};
}

Result<void> TurnReader::read(const ChatRequest& request) {
  for (size_t i = 0; i < request.messages.size(); ++i) {
    VARVE_TRY(const jinja::Dict* const message, object(request.messages[i], "a message"));
    VARVE_TRY(const std::string role, text_field(*message, "role"));
    const auto raw = request.raw_answers.find(i);
    VARVE_CHECKED(add(*message, role, raw == request.raw_answers.end() ? nullptr : &raw->second));
  }
  end_user_turn();
  return add_request_tools(request.tools);
}

}  // namespace

Result<std::vector<DeepseekV4Turn>> deepseek_v4_turns(const ChatRequest& request) {
  TurnReader reader;
  VARVE_CHECKED(reader.read(request));
  return std::move(reader).turns();
}

Result<std::string> python_json(const jinja::Value& value) {
  jinja::Budget budget((jinja::Limits()));
  return jinja::to_json(value, {}, budget);
}

}  // namespace varve
