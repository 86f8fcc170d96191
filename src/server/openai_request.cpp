#include "server/openai_request.h"

#include <algorithm>
#include <array>
#include <limits>

#include "server/chat_messages.h"

namespace varve::server {

using jinja::Value;

namespace {

constexpr double kMaxTemperature = 2;
constexpr int64_t kMaxTopLogprobs = 20;
constexpr int kDefaultCompletionTokens = 16;

Result<std::vector<Value>> read_tool_calls(const RequestFields& message) {
  VARVE_TRY(const std::vector<RequestFields> calls, message.objects("tool_calls"));
  std::vector<Value> out;
  for (const RequestFields& call : calls) {
    VARVE_TRY(const RequestFields function, call.object("function"));
    VARVE_TRY(std::string id, call.string_or("id", ""));
    VARVE_TRY(std::string name, function.string("name"));
    const Value* const given = function.find("arguments");
    Value arguments;
    if (given != nullptr && given->dict() != nullptr) {
      arguments = *given;
    } else {
      VARVE_TRY(const std::string json, function.string_or("arguments", "{}"));
      arguments = tool_arguments(json);
    }
    VARVE_TRY(Value value, tool_call(std::move(id), std::move(name), std::move(arguments)));
    out.push_back(std::move(value));
  }
  return out;
}

Result<void> add_assistant_fields(const RequestFields& message, Entries& entries) {
  for (const std::string_view key : {"reasoning_content", "reasoning"}) {
    const Value* const reasoning = message.find(key);
    if (reasoning == nullptr || reasoning->text() == nullptr) continue;
    add_text(entries, "reasoning_content", *reasoning->text());
    break;
  }
  if (!message.has("tool_calls")) return {};
  VARVE_TRY(std::vector<Value> calls, read_tool_calls(message));
  if (calls.empty()) return {};
  VARVE_TRY(Value list, jinja::make_list(std::move(calls)));
  entries.emplace_back(Value::text("tool_calls"), std::move(list));
  return {};
}

Result<Value> read_message(const RequestFields& message) {
  VARVE_TRY(std::string role, message.string("role"));
  // What the API calls so now was `system` to all that models were trained on.
  if (role == "developer") role = "system";
  constexpr std::array<std::string_view, 4> kRoles = {"system", "user", "assistant", "tool"};
  if (std::find(kRoles.begin(), kRoles.end(), role) == kRoles.end()) {
    return message.wrong("role", "'system', 'developer', 'user', 'assistant' or 'tool'");
  }
  if (role != "assistant" && !message.has("content")) {
    return message.wrong("content", "a string or an array of parts");
  }
  VARVE_TRY(std::string content,
            content_text(message, "content", {{"text", "text"}, {"refusal", "refusal"}}));
  Entries entries;
  add_text(entries, "role", role);
  add_text(entries, "content", std::move(content));
  if (role == "assistant") VARVE_CHECKED(add_assistant_fields(message, entries));
  VARVE_TRY(const bool is_open, message.boolean_or("wo_eos", false));
  if (is_open) entries.emplace_back(Value::text("wo_eos"), Value(true));
  for (const std::string_view key : {"name", "tool_call_id", "task"}) {
    if (!message.has(key)) continue;
    VARVE_TRY(std::string text, message.string(key));
    add_text(entries, key, std::move(text));
  }
  return dictionary(std::move(entries));
}

Result<Value> read_tools(const RequestFields& body) {
  VARVE_TRY(const std::vector<RequestFields> tools, body.objects("tools"));
  std::vector<Value> out;
  for (const RequestFields& tool : tools) {
    VARVE_TRY(const std::string type, tool.string("type"));
    if (type != "function") return tool.wrong("type", "'function'");
    VARVE_TRY(const RequestFields function, tool.object("function"));
    VARVE_TRY(Value definition, tool_definition(function, "parameters"));
    out.push_back(std::move(definition));
  }
  if (out.empty()) return Value::none();
  return jinja::make_list(std::move(out));
}

// What both endpoints have in common.
Result<void> read_common(const RequestFields& body, const CallDefaults& defaults, TextCall& call) {
  VARVE_CHECKED(body.string_or("model", ""));
  VARVE_TRY(call.generation.sampling, read_sampling(body, defaults.sampling, kMaxTemperature));
  VARVE_TRY(call.generation.stop_strings, read_stops(body, "stop"));
  VARVE_TRY(call.generation.ignore_eos, body.boolean_or("ignore_eos", false));
  VARVE_TRY(call.generation.max_tokens, read_max_tokens(body, "max_tokens"));
  VARVE_TRY(call.streams, body.boolean_or("stream", false));
  if (body.has("stream_options")) {
    VARVE_TRY(const RequestFields options, body.object("stream_options"));
    VARVE_TRY(call.wants_usage, options.boolean_or("include_usage", false));
  }
  for (const std::string_view key : {"n", "best_of"}) {
    VARVE_TRY(const int64_t n, body.integer_or(key, 1, 1, 128));
    if (n != 1) return body.wrong(key, "1: one answer a request is supported");
  }
  VARVE_TRY(call.json, read_json_format(body, "response_format", "json_schema"));
  return check_json(call);
}

}  // namespace

Result<bool> read_tool_choice(const RequestFields& fields) {
  const Value* const choice = fields.find("tool_choice");
  if (choice == nullptr) return true;
  const std::string* const text = choice->text();
  if (text != nullptr && (*text == "auto" || *text == "none")) return *text == "auto";
  return fields.wrong("tool_choice", "'auto' or 'none': calls that have to be are not supported");
}

Result<void> read_effort(const RequestFields& fields, std::string_view key, ChatRequest& request) {
  if (!fields.has(key)) return {};
  const std::string* const effort = fields.find(key)->text();
  if (effort == nullptr) return fields.wrong(key, "a string");
  const Value thinks(*effort != "none");
  request.variables.emplace_back("enable_thinking", thinks);
  request.variables.emplace_back("thinking", thinks);
  request.variables.emplace_back("reasoning_effort", Value::text(*effort));
  return {};
}

Result<ChatRequest> read_chat_messages(const RequestFields& body, const CallDefaults& defaults) {
  ChatRequest request;
  request.variables = defaults.variables;
  VARVE_TRY(const std::vector<RequestFields> messages, body.objects("messages"));
  if (messages.empty()) {
    return bad_input("field `messages`: expected at least one message, found none");
  }
  for (const RequestFields& message : messages) {
    VARVE_TRY(Value value, read_message(message));
    request.messages.push_back(std::move(value));
  }
  VARVE_TRY(const bool may_call, read_tool_choice(body));
  if (may_call && body.has("tools")) {
    VARVE_TRY(request.tools, read_tools(body));
  }
  VARVE_CHECKED(read_effort(body, "reasoning_effort", request));
  if (body.has("chat_template_kwargs")) {
    VARVE_TRY(const RequestFields variables, body.object("chat_template_kwargs"));
    for (const auto& [key, value] : variables.value().dict()->entries) {
      request.variables.emplace_back(*key.text(), value);
    }
  }
  return request;
}

Result<TextCall> read_chat_completion(const RequestFields& body, const CallDefaults& defaults) {
  TextCall call;
  VARVE_TRY(call.chat, read_chat_messages(body, defaults));
  VARVE_CHECKED(read_common(body, defaults, call));
  if (body.has("max_completion_tokens")) {
    VARVE_TRY(call.generation.max_tokens, read_max_tokens(body, "max_completion_tokens"));
  }
  VARVE_TRY(const bool wants_logprobs, body.boolean_or("logprobs", false));
  VARVE_TRY(const int64_t n_top, body.integer_or("top_logprobs", 0, 0, kMaxTopLogprobs));
  if (wants_logprobs) call.generation.n_top_logprobs = static_cast<int>(n_top);
  return call;
}

Result<void> read_prompt(const RequestFields& body, std::string_view key, TextCall& call) {
  constexpr std::string_view kExpected = "a string or an array of token ids";
  const Value* prompt = body.find(key);
  if (prompt == nullptr) return body.wrong(key, kExpected);
  // A batch of one.
  if (const jinja::List* const list = prompt->list(); list != nullptr && !list->items.empty()) {
    const Value& first = list->items.front();
    if (first.text() != nullptr || first.list() != nullptr) {
      if (list->items.size() > 1) {
        return bad_input("field `{}`: expected one prompt, found {}", body.path(key),
                         list->items.size());
      }
      prompt = &first;
    }
  }
  if (prompt->text() != nullptr) {
    call.text = *prompt->text();
    return {};
  }
  if (prompt->list() == nullptr) return body.wrong(key, kExpected);
  std::vector<int32_t>& ids = call.ids.emplace();
  for (const Value& item : prompt->list()->items) {
    const int64_t* const id = item.as<int64_t>();
    if (id == nullptr || *id < 0 || *id > std::numeric_limits<int32_t>::max()) {
      return wrong_value(body.path(key, ids.size()), "a token id", item);
    }
    ids.push_back(static_cast<int32_t>(*id));
  }
  return {};
}

Result<TextCall> read_completion(const RequestFields& body, const CallDefaults& defaults) {
  TextCall call;
  if (body.has("session")) {
    VARVE_TRY(const int64_t id, body.integer_or("session", 0, 1, INT64_MAX));
    call.session = static_cast<uint64_t>(id);
  }
  if (!call.session || body.has("prompt")) VARVE_CHECKED(read_prompt(body, "prompt", call));
  VARVE_CHECKED(read_common(body, defaults, call));
  if (!call.generation.max_tokens) call.generation.max_tokens = kDefaultCompletionTokens;
  if (body.has("logprobs")) {
    VARVE_TRY(const int64_t n, body.integer_or("logprobs", 0, 0, kMaxTopLogprobs));
    call.generation.n_top_logprobs = static_cast<int>(n);
  }
  VARVE_TRY(const bool echoes, body.boolean_or("echo", false));
  if (echoes) return body.wrong("echo", "false: the prompt is not repeated");
  VARVE_TRY(const std::string suffix, body.string_or("suffix", ""));
  if (!suffix.empty()) return body.wrong("suffix", "none: text is continued at its end alone");
  return call;
}

}  // namespace varve::server
