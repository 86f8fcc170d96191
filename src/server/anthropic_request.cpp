#include "server/anthropic_request.h"

#include "server/chat_messages.h"
#include "server/openai_request.h"

namespace varve::server {

using jinja::Value;

namespace {

constexpr double kMaxTemperature = 1;

// A block of the system prompt that some clients put first and change with every request, for their
// own accounts: it says nothing to a model, and nothing behind it could be found again.
constexpr std::string_view kBillingBlock = "x-anthropic-billing-header:";

Result<std::string> read_system(const RequestFields& body) {
  const Value* const system = body.find("system");
  if (system == nullptr) return std::string();
  if (system->list() == nullptr) return text_of_parts(*system, "system", {});
  std::vector<Value> blocks;
  for (const Value& block : system->list()->items) {
    const Value* const text = block.dict() == nullptr ? nullptr : block.dict()->find("text");
    const bool is_for_accounts =
        text != nullptr && text->text() != nullptr && text->text()->starts_with(kBillingBlock);
    if (!is_for_accounts) blocks.push_back(block);
  }
  VARVE_TRY(const Value list, jinja::make_list(std::move(blocks)));
  return text_of_parts(list, "system", {{"text", "text"}});
}

Result<Value> plain_message(std::string_view role, std::string text) {
  Entries entries;
  add_text(entries, "role", std::string(role));
  add_text(entries, "content", std::move(text));
  return dictionary(std::move(entries));
}

void add_line(std::string& text, const std::string& more) {
  if (!text.empty() && !more.empty()) text += '\n';
  text += more;
}

// A user's blocks: results of tools become messages of their own, in front of what is said.
Result<void> read_user(const RequestFields& message, ChatRequest& request) {
  VARVE_TRY(const std::vector<RequestFields> blocks, message.objects("content"));
  std::string said;
  bool has_said = blocks.empty();
  for (const RequestFields& block : blocks) {
    VARVE_TRY(const std::string type, block.string("type"));
    if (type == "text") {
      VARVE_TRY(const std::string text, block.string("text"));
      add_line(said, text);
      has_said = true;
      continue;
    }
    if (type != "tool_result") {
      return block.wrong("type", "'text' or 'tool_result': nothing else is supported");
    }
    VARVE_TRY(std::string id, block.string("tool_use_id"));
    VARVE_TRY(std::string result, content_text(block, "content", {{"text", "text"}}));
    Entries entries;
    add_text(entries, "role", "tool");
    add_text(entries, "tool_call_id", std::move(id));
    add_text(entries, "content", std::move(result));
    VARVE_TRY(Value value, dictionary(std::move(entries)));
    request.messages.push_back(std::move(value));
  }
  if (!has_said) return {};
  VARVE_TRY(Value value, plain_message("user", std::move(said)));
  request.messages.push_back(std::move(value));
  return {};
}

Result<void> read_assistant(const RequestFields& message, ChatRequest& request) {
  VARVE_TRY(const std::vector<RequestFields> blocks, message.objects("content"));
  std::string said;
  std::string reasoning;
  std::vector<Value> calls;
  for (const RequestFields& block : blocks) {
    VARVE_TRY(const std::string type, block.string("type"));
    if (type == "text") {
      VARVE_TRY(const std::string text, block.string("text"));
      add_line(said, text);
    } else if (type == "thinking") {
      VARVE_TRY(const std::string text, block.string("thinking"));
      add_line(reasoning, text);
    } else if (type == "tool_use") {
      VARVE_TRY(std::string id, block.string("id"));
      VARVE_TRY(std::string name, block.string("name"));
      VARVE_TRY(const RequestFields input, block.object("input"));
      VARVE_TRY(Value call, tool_call(std::move(id), std::move(name), input.value()));
      calls.push_back(std::move(call));
    } else if (type != "redacted_thinking") {
      return block.wrong("type", "'text', 'thinking' or 'tool_use': nothing else is supported");
    }
  }
  Entries entries;
  add_text(entries, "role", "assistant");
  add_text(entries, "content", std::move(said));
  if (!reasoning.empty()) add_text(entries, "reasoning_content", std::move(reasoning));
  if (!calls.empty()) {
    VARVE_TRY(Value list, jinja::make_list(std::move(calls)));
    entries.emplace_back(Value::text("tool_calls"), std::move(list));
  }
  VARVE_TRY(Value value, dictionary(std::move(entries)));
  request.messages.push_back(std::move(value));
  return {};
}

Result<void> read_message(const RequestFields& message, ChatRequest& request) {
  VARVE_TRY(const std::string role, message.string("role"));
  if (role != "user" && role != "assistant" && role != "system") {
    return message.wrong("role", "'user' or 'assistant'");
  }
  const Value* const content = message.find("content");
  if (content == nullptr || (content->text() == nullptr && content->list() == nullptr)) {
    return message.wrong("content", "a string or an array of blocks");
  }
  if (content->list() != nullptr && role == "user") return read_user(message, request);
  if (content->list() != nullptr && role == "assistant") return read_assistant(message, request);
  VARVE_TRY(std::string text, content_text(message, "content", {{"text", "text"}}));
  VARVE_TRY(Value value, plain_message(role, std::move(text)));
  request.messages.push_back(std::move(value));
  return {};
}

Result<Value> read_tools(const RequestFields& body) {
  VARVE_TRY(const std::vector<RequestFields> tools, body.objects("tools"));
  std::vector<Value> out;
  for (const RequestFields& tool : tools) {
    VARVE_TRY(const std::string type, tool.string_or("type", "custom"));
    if (type != "custom") {
      return tool.wrong("type", "'custom': tools that the server would run are not supported");
    }
    VARVE_TRY(Value definition, tool_definition(tool, "input_schema"));
    out.push_back(std::move(definition));
  }
  if (out.empty()) return Value::none();
  return jinja::make_list(std::move(out));
}

Result<bool> read_choice(const RequestFields& body) {
  if (!body.has("tool_choice")) return true;
  VARVE_TRY(const RequestFields choice, body.object("tool_choice"));
  VARVE_TRY(const std::string type, choice.string("type"));
  if (type == "auto" || type == "none") return type == "auto";
  return choice.wrong("type", "'auto' or 'none': calls that have to be are not supported");
}

Result<void> read_thinking(const RequestFields& body, ChatRequest& request) {
  if (!body.has("thinking")) return {};
  VARVE_TRY(const RequestFields thinking, body.object("thinking"));
  VARVE_TRY(const std::string type, thinking.string("type"));
  if (type != "enabled" && type != "disabled" && type != "adaptive") {
    return thinking.wrong("type", "'enabled', 'adaptive' or 'disabled'");
  }
  const Value thinks(type != "disabled");
  request.variables.emplace_back("enable_thinking", thinks);
  request.variables.emplace_back("thinking", thinks);
  return {};
}

}  // namespace

Result<ChatRequest> read_anthropic_chat(const RequestFields& body, const CallDefaults& defaults) {
  ChatRequest request;
  request.variables = defaults.variables;
  VARVE_CHECKED(body.string_or("model", ""));
  VARVE_TRY(std::string system, read_system(body));
  if (!system.empty()) {
    VARVE_TRY(Value value, plain_message("system", std::move(system)));
    request.messages.push_back(std::move(value));
  }
  VARVE_TRY(const std::vector<RequestFields> messages, body.objects("messages"));
  if (messages.empty()) {
    return bad_input("field `messages`: expected at least one message, found none");
  }
  for (const RequestFields& message : messages) VARVE_CHECKED(read_message(message, request));
  VARVE_TRY(const bool may_call, read_choice(body));
  if (may_call && body.has("tools")) {
    VARVE_TRY(request.tools, read_tools(body));
  }
  VARVE_CHECKED(read_thinking(body, request));
  return request;
}

Result<TextCall> read_messages(const RequestFields& body, const CallDefaults& defaults) {
  TextCall call;
  VARVE_TRY(call.chat, read_anthropic_chat(body, defaults));
  if (!body.has("max_tokens")) return body.wrong("max_tokens", "a number of tokens");
  VARVE_TRY(call.generation.max_tokens, read_max_tokens(body, "max_tokens"));
  VARVE_TRY(call.generation.sampling, read_sampling(body, defaults.sampling, kMaxTemperature));
  VARVE_TRY(call.generation.stop_strings, read_stops(body, "stop_sequences"));
  VARVE_TRY(call.generation.ignore_eos, body.boolean_or("ignore_eos", false));
  VARVE_TRY(call.streams, body.boolean_or("stream", false));
  if (body.has("output_config")) {
    VARVE_TRY(const RequestFields config, body.object("output_config"));
    VARVE_TRY(call.json, read_json_format(config, "format", ""));
  }
  if (body.has("output_format")) {  // its name in the API's beta
    VARVE_TRY(call.json, read_json_format(body, "output_format", ""));
  }
  VARVE_CHECKED(check_json(call));
  return call;
}

}  // namespace varve::server
