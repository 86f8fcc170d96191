#include "server/responses_request.h"

#include "server/chat_messages.h"
#include "server/openai_request.h"

namespace varve::server {

using jinja::Value;

namespace {

constexpr double kMaxTemperature = 2;
constexpr int64_t kMaxTopLogprobs = 20;

// Items of the input on their way to messages. What an assistant thought, said and called stands in
// items of its own and becomes one message.
class MessageBuilder {
 public:
  Result<void> add(const RequestFields& item);
  Result<std::vector<Value>> finish() {
    VARVE_CHECKED(end_assistant());
    return std::move(messages_);
  }
  Result<void> add_message(std::string role, std::string text);

 private:
  Result<void> add_role_message(const RequestFields& item);
  Result<void> add_call(const RequestFields& item);
  Result<void> add_result(const RequestFields& item);
  Result<void> add_reasoning(const RequestFields& item);
  Result<void> end_assistant();

  std::vector<Value> messages_;
  bool in_assistant_ = false;
  bool has_said_ = false;
  std::string said_;
  std::string reasoning_;
  std::vector<Value> calls_;
};

Result<void> MessageBuilder::end_assistant() {
  if (!in_assistant_) return {};
  Entries entries;
  add_text(entries, "role", "assistant");
  add_text(entries, "content", std::move(said_));
  if (!reasoning_.empty()) add_text(entries, "reasoning_content", std::move(reasoning_));
  if (!calls_.empty()) {
    VARVE_TRY(Value list, jinja::make_list(std::move(calls_)));
    entries.emplace_back(Value::text("tool_calls"), std::move(list));
  }
  VARVE_TRY(Value message, dictionary(std::move(entries)));
  messages_.push_back(std::move(message));
  in_assistant_ = has_said_ = false;
  said_ = {};
  reasoning_ = {};
  calls_ = {};
  return {};
}

Result<void> MessageBuilder::add_message(std::string role, std::string text) {
  VARVE_CHECKED(end_assistant());
  Entries entries;
  add_text(entries, "role", std::move(role));
  add_text(entries, "content", std::move(text));
  VARVE_TRY(Value message, dictionary(std::move(entries)));
  messages_.push_back(std::move(message));
  return {};
}

Result<void> MessageBuilder::add_role_message(const RequestFields& item) {
  VARVE_TRY(std::string role, item.string("role"));
  if (role == "developer") role = "system";
  if (!item.has("content")) return item.wrong("content", "a string or an array of parts");
  VARVE_TRY(std::string text, content_text(item, "content",
                                           {{"input_text", "text"},
                                            {"output_text", "text"},
                                            {"text", "text"},
                                            {"refusal", "refusal"}}));
  if (role == "user" || role == "system") return add_message(std::move(role), std::move(text));
  if (role != "assistant") {
    return item.wrong("role", "'system', 'developer', 'user' or 'assistant'");
  }
  if (has_said_ || !calls_.empty()) VARVE_CHECKED(end_assistant());
  in_assistant_ = has_said_ = true;
  said_ = std::move(text);
  return {};
}

Result<void> MessageBuilder::add_call(const RequestFields& item) {
  VARVE_TRY(std::string id, item.string("call_id"));
  VARVE_TRY(std::string name, item.string("name"));
  VARVE_TRY(const std::string arguments, item.string("arguments"));
  VARVE_TRY(Value call, tool_call(std::move(id), std::move(name), tool_arguments(arguments)));
  in_assistant_ = true;
  calls_.push_back(std::move(call));
  return {};
}

Result<void> MessageBuilder::add_result(const RequestFields& item) {
  VARVE_CHECKED(end_assistant());
  VARVE_TRY(std::string id, item.string("call_id"));
  VARVE_TRY(std::string text,
            content_text(item, "output", {{"input_text", "text"}, {"output_text", "text"}}));
  Entries entries;
  add_text(entries, "role", "tool");
  add_text(entries, "tool_call_id", std::move(id));
  add_text(entries, "content", std::move(text));
  VARVE_TRY(Value message, dictionary(std::move(entries)));
  messages_.push_back(std::move(message));
  return {};
}

Result<void> MessageBuilder::add_reasoning(const RequestFields& item) {
  if (has_said_ || !calls_.empty()) VARVE_CHECKED(end_assistant());
  VARVE_TRY(const std::string text, content_text(item, "content", {{"reasoning_text", "text"}}));
  if (text.empty()) return {};
  in_assistant_ = true;
  reasoning_ = text;
  return {};
}

Result<void> MessageBuilder::add(const RequestFields& item) {
  VARVE_TRY(const std::string type, item.string_or("type", "message"));
  if (type == "message") return add_role_message(item);
  if (type == "function_call") return add_call(item);
  if (type == "function_call_output") return add_result(item);
  if (type == "reasoning") return add_reasoning(item);
  return item.wrong("type", "'message', 'function_call', 'function_call_output' or 'reasoning'");
}

Result<std::vector<Value>> read_input(const RequestFields& body) {
  MessageBuilder builder;
  if (body.has("instructions")) {
    VARVE_TRY(std::string text, body.string("instructions"));
    VARVE_CHECKED(builder.add_message("system", std::move(text)));
  }
  const Value* const input = body.find("input");
  if (input != nullptr && input->text() != nullptr) {
    VARVE_CHECKED(builder.add_message("user", *input->text()));
    return builder.finish();
  }
  if (input == nullptr || input->list() == nullptr) {
    return body.wrong("input", "a string or an array of items");
  }
  VARVE_TRY(const std::vector<RequestFields> items, body.objects("input"));
  if (items.empty()) return bad_input("field `input`: expected at least one item, found none");
  for (const RequestFields& item : items) VARVE_CHECKED(builder.add(item));
  return builder.finish();
}

Result<Value> read_tools(const RequestFields& body) {
  VARVE_TRY(const std::vector<RequestFields> tools, body.objects("tools"));
  std::vector<Value> out;
  for (const RequestFields& tool : tools) {
    VARVE_TRY(const std::string type, tool.string("type"));
    if (type != "function") {
      return tool.wrong("type", "'function': tools that the server would run are not supported");
    }
    VARVE_TRY(Value definition, tool_definition(tool, "parameters"));
    out.push_back(std::move(definition));
  }
  if (out.empty()) return Value::none();
  return jinja::make_list(std::move(out));
}

// What would need the server to keep answers.
Result<void> refuse_others(const RequestFields& body) {
  for (const std::string_view key : {"previous_response_id", "conversation", "prompt"}) {
    if (body.has(key)) return body.wrong(key, "none: answers are not stored");
  }
  VARVE_TRY(const bool in_background, body.boolean_or("background", false));
  if (in_background) return body.wrong("background", "false: answers are not stored");
  return {};
}

}  // namespace

Result<ResponsesCall> read_responses(const RequestFields& body, const CallDefaults& defaults) {
  ResponsesCall out{.call = {}, .body = body};
  TextCall& call = out.call;
  VARVE_CHECKED(body.string_or("model", ""));
  VARVE_CHECKED(refuse_others(body));
  ChatRequest& chat = call.chat.emplace();
  chat.variables = defaults.variables;
  VARVE_TRY(chat.messages, read_input(body));
  VARVE_TRY(const bool may_call, read_tool_choice(body));
  if (may_call && body.has("tools")) {
    VARVE_TRY(chat.tools, read_tools(body));
  }
  if (body.has("reasoning")) {
    VARVE_TRY(const RequestFields reasoning, body.object("reasoning"));
    VARVE_CHECKED(read_effort(reasoning, "effort", chat));
  }
  VARVE_TRY(call.generation.max_tokens, read_max_tokens(body, "max_output_tokens"));
  VARVE_TRY(call.generation.sampling, read_sampling(body, defaults.sampling, kMaxTemperature));
  VARVE_TRY(call.generation.ignore_eos, body.boolean_or("ignore_eos", false));
  VARVE_TRY(call.generation.stop_strings, read_stops(body, "stop"));
  VARVE_TRY(call.streams, body.boolean_or("stream", false));
  if (body.has("text")) {
    VARVE_TRY(const RequestFields text, body.object("text"));
    VARVE_TRY(call.json, read_json_format(text, "format", ""));
  }
  VARVE_CHECKED(check_json(call));
  if (body.has("top_logprobs")) {
    VARVE_TRY(const int64_t n, body.integer_or("top_logprobs", 0, 0, kMaxTopLogprobs));
    call.generation.n_top_logprobs = static_cast<int>(n);
  }
  return out;
}

}  // namespace varve::server
