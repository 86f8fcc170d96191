#include "server/answer_reader.h"

#include "chat/jinja/json.h"
#include "server/json_text.h"

namespace varve::server {

using jinja::Value;

namespace {

AnswerPiece text_piece(AnswerPiece::Kind kind, std::string text) {
  return {.kind = kind, .text = std::move(text), .call = {}, .tokens = {}};
}

std::string text_field(const jinja::Dict& message, std::string_view key) {
  const Value* const value = message.find(key);
  return value == nullptr || value->text() == nullptr ? "" : *value->text();
}

ToolCall tool_call_of(const Value& value) {
  ToolCall call;
  const jinja::Dict* const fields = value.dict();
  if (fields == nullptr) return call;
  call.id = text_field(*fields, "id");
  if (call.id.empty()) call.id = random_id("call_");
  const Value* const function = fields->find("function");
  if (function == nullptr || function->dict() == nullptr) return call;
  call.name = text_field(*function->dict(), "name");
  const Value* const arguments = function->dict()->find("arguments");
  if (arguments == nullptr) return call;
  call.arguments =
      arguments->text() != nullptr ? *arguments->text() : json_text(json_of(*arguments));
  return call;
}

// Of a request that asks for no reasoning and has no tools: what is written is content.
bool is_plain(const ChatRequest& request) {
  if (request.tools.truth()) return false;
  for (const auto& [name, value] : request.variables) {
    if ((name == "thinking" || name == "enable_thinking") && value.truth()) return false;
  }
  return true;
}

}  // namespace

AnswerReader::AnswerReader(const ChatFormat* format, const ChatRequest* request)
    : format_(format), request_(request), is_plain_(format == nullptr || is_plain(*request)) {}

std::vector<AnswerPiece> AnswerReader::push(std::string_view text) {
  if (!is_plain_) {
    text_ += text;
    return {};
  }
  if (text.empty()) return {};
  return {text_piece(AnswerPiece::Kind::content, std::string(text))};
}

std::vector<AnswerPiece> AnswerReader::finish() {
  if (is_plain_) return {};
  std::vector<AnswerPiece> pieces;
  const Value message = format_->answer(*request_, text_);
  const jinja::Dict& fields = *message.dict();
  const auto add = [&](AnswerPiece::Kind kind, std::string_view key) {
    std::string text = text_field(fields, key);
    if (!text.empty()) pieces.push_back(text_piece(kind, std::move(text)));
  };
  add(AnswerPiece::Kind::reasoning, "reasoning_content");
  add(AnswerPiece::Kind::content, "content");
  const Value* const calls = fields.find("tool_calls");
  if (calls != nullptr && calls->list() != nullptr) {
    for (const Value& call : calls->list()->items) {
      AnswerPiece piece = text_piece(AnswerPiece::Kind::tool_call, "");
      piece.call = tool_call_of(call);
      pieces.push_back(std::move(piece));
    }
  }
  return pieces;
}

}  // namespace varve::server
