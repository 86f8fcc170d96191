#include "chat/chat_format.h"

#include "chat/jinja/json.h"
#include "chat/jinja/text.h"

namespace varve {

using jinja::Value;

Value chat_message(std::string_view role, std::string_view content) {
  // Two strings as entries: neither too deep nor without a key.
  return jinja::make_dict({{Value::text("role"), Value::text(std::string(role))},
                           {Value::text("content"), Value::text(std::string(content))}})
      .value();
}

std::unique_ptr<AnswerParser> ChatFormat::answer_parser(const ChatRequest&) const {
  return make_answer_parser({});
}

Value ChatFormat::answer(const ChatRequest& request, std::string_view text) const {
  const std::unique_ptr<AnswerParser> parser = answer_parser(request);
  std::vector<AnswerEvent> events = parser->push(text);
  for (AnswerEvent& event : parser->finish()) events.push_back(std::move(event));
  return answer_message(events);
}

Result<ChatRequest> parse_chat_request(std::string_view json, const std::string& name) {
  VARVE_TRY(const Value root, jinja::from_json(json, name));
  ChatRequest request;
  request.add_generation_prompt = false;
  const Value* messages = &root;
  if (const jinja::Dict* const fields = root.dict()) {
    messages = fields->find("messages");
    if (messages == nullptr) {
      return bad_input("{}: field `messages`: expected an array, it is missing", name);
    }
    for (const auto& [key, value] : fields->entries) {
      const std::string& field = *key.text();
      if (field == "messages") continue;
      if (field == "tools") {
        request.tools = value;
      } else if (field == "add_generation_prompt") {
        request.add_generation_prompt = value.truth();
      } else {
        request.variables.emplace_back(field, value);
      }
    }
  }
  if (messages->list() == nullptr) {
    return bad_input("{}: expected an array of messages, found {}", name, messages->describe());
  }
  request.messages = messages->list()->items;
  for (const Value& message : request.messages) {
    const jinja::Dict* const fields = message.dict();
    const Value* const role = fields == nullptr ? nullptr : fields->find("role");
    if (role == nullptr || role->text() == nullptr) {
      return bad_input("{}: expected messages with a `role`, found {}", name, message.describe());
    }
  }
  return request;
}

std::optional<int32_t> end_of_turn_id(const ChatFormat& format, const Tokenizer& tokenizer) {
  constexpr std::string_view kAnswer = "varve-answer";
  ChatRequest request;
  request.messages = {chat_message("user", "varve-question"), chat_message("assistant", kAnswer)};
  request.add_generation_prompt = false;
  const Result<std::string> text = format.render(request);
  if (!text) return std::nullopt;
  const size_t answer = text->rfind(kAnswer);
  if (answer == text->npos) return std::nullopt;
  const std::string_view rest = jinja::strip(
      std::string_view(*text).substr(answer + kAnswer.size()), std::nullopt, jinja::Side::left);
  const auto ids = tokenizer.encode(rest);
  if (!ids || ids->empty() || !tokenizer.is_special(ids->front())) return std::nullopt;
  return ids->front();
}

}  // namespace varve
