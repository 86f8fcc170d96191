#include "server/anthropic_response.h"

#include <nlohmann/json.hpp>

#include "server/json_text.h"

namespace varve::server {
namespace {

using Json = nlohmann::ordered_json;

std::string event(const Json& json) {
  return "event: " + json["type"].get<std::string>() + "\ndata: " + json_text(json) + "\n\n";
}

// The tokens that the cache knew are counted apart.
Json usage_json(const Usage& usage) {
  return {{"input_tokens", usage.n_prompt - usage.n_cached},
          {"cache_creation_input_tokens", 0},
          {"cache_read_input_tokens", usage.n_cached},
          {"output_tokens", usage.n_sampled}};
}

std::string_view stop_reason(const Answer& answer) {
  if (!answer.tool_calls.empty() && answer.reason != FinishReason::length) return "tool_use";
  switch (answer.reason) {
    case FinishReason::length:
      return "max_tokens";
    case FinishReason::stop_string:
      return "stop_sequence";
    case FinishReason::end_token:
      break;
  }
  return "end_turn";
}

Json stop_sequence(const Answer& answer) {
  if (answer.reason != FinishReason::stop_string) return nullptr;
  return answer.stop_string;
}

Json input_of(const AnswerToolCall& call) {
  Json input = Json::parse(call.arguments, nullptr, false);
  return input.is_object() ? input : Json::object();
}

class MessagesWriter : public AnswerWriter {
 public:
  explicit MessagesWriter(std::string model) : model_(std::move(model)) {}

  std::string whole(const Answer& answer) override;
  std::string begin(const Usage& usage) override;
  std::string piece(const AnswerPiece& piece) override;
  std::string end(const Answer& answer) override;
  std::string keep_alive() override { return event({{"type", "ping"}}); }
  std::string failure(const Problem& problem) override {
    return "event: error\ndata: " + anthropic_error(problem) + "\n\n";
  }

 private:
  Json message(Json content, Json reason, Json sequence, const Usage& usage) const {
    return {{"id", id_},
            {"type", "message"},
            {"role", "assistant"},
            {"model", model_},
            {"content", std::move(content)},
            {"stop_reason", std::move(reason)},
            {"stop_sequence", std::move(sequence)},
            {"usage", usage_json(usage)}};
  }
  std::string open_block(Json block);
  std::string delta(Json delta) const {
    return event({{"type", "content_block_delta"}, {"index", n_blocks_ - 1}, {"delta", delta}});
  }
  std::string close_block();
  std::string open_call(const AnswerToolCall& call);
  std::string call_part(const AnswerEvent& event);
  /// Whether the open block is that of the event's call.
  bool is_in_parts(const AnswerEvent& event) const {
    return is_open_ && kind_ == AnswerEvent::Kind::call_part && call_id_ == event.call.id;
  }

  const std::string model_;
  const std::string id_ = random_id("msg_");
  int n_blocks_ = 0;
  AnswerEvent::Kind kind_ = AnswerEvent::Kind::content;  // of the open block
  bool is_open_ = false;
  std::string call_id_;  // of the last call that came in parts
};

std::string MessagesWriter::whole(const Answer& answer) {
  Json content = Json::array();
  if (!answer.reasoning.empty()) {
    content.push_back({{"type", "thinking"}, {"thinking", answer.reasoning}, {"signature", ""}});
  }
  if (!answer.content.empty()) content.push_back({{"type", "text"}, {"text", answer.content}});
  for (const AnswerToolCall& call : answer.tool_calls) {
    content.push_back(
        {{"type", "tool_use"}, {"id", call.id}, {"name", call.name}, {"input", input_of(call)}});
  }
  return json_text(
      message(std::move(content), stop_reason(answer), stop_sequence(answer), answer.usage));
}

std::string MessagesWriter::begin(const Usage& usage) {
  return event(
      {{"type", "message_start"}, {"message", message(Json::array(), nullptr, nullptr, usage)}});
}

std::string MessagesWriter::open_block(Json block) {
  is_open_ = true;
  return event({{"type", "content_block_start"},
                {"index", n_blocks_++},
                {"content_block", std::move(block)}});
}

std::string MessagesWriter::close_block() {
  if (!std::exchange(is_open_, false)) return {};
  return event({{"type", "content_block_stop"}, {"index", n_blocks_ - 1}});
}

std::string MessagesWriter::open_call(const AnswerToolCall& call) {
  return open_block(
      {{"type", "tool_use"}, {"id", call.id}, {"name", call.name}, {"input", Json::object()}});
}

std::string MessagesWriter::call_part(const AnswerEvent& event) {
  std::string out;
  if (!is_in_parts(event)) {
    out = close_block();
    kind_ = event.kind;
    call_id_ = event.call.id;
    out += open_call(event.call);
  }
  return out + delta({{"type", "input_json_delta"}, {"partial_json", event.text}});
}

std::string MessagesWriter::piece(const AnswerPiece& piece) {
  if (piece.event.kind == AnswerEvent::Kind::call_part) return call_part(piece.event);
  const bool is_call = piece.event.kind == AnswerEvent::Kind::tool_call;
  const bool is_reasoning = piece.event.kind == AnswerEvent::Kind::reasoning;
  if (!is_call && piece.event.text.empty()) return {};
  // All of it was said in parts.
  if (is_call && is_in_parts(piece.event)) return close_block();
  std::string out;
  if (is_call || !is_open_ || piece.event.kind != kind_) {
    out = close_block();
    kind_ = piece.event.kind;
    if (is_call) {
      out += open_call(piece.event.call);
    } else if (is_reasoning) {
      out += open_block({{"type", "thinking"}, {"thinking", ""}, {"signature", ""}});
    } else {
      out += open_block({{"type", "text"}, {"text", ""}});
    }
  }
  if (is_call) {
    out += delta(
        {{"type", "input_json_delta"}, {"partial_json", json_text(input_of(piece.event.call))}});
    out += close_block();
    return out;
  }
  if (is_reasoning)
    return out + delta({{"type", "thinking_delta"}, {"thinking", piece.event.text}});
  return out + delta({{"type", "text_delta"}, {"text", piece.event.text}});
}

std::string MessagesWriter::end(const Answer& answer) {
  return close_block() +
         event({{"type", "message_delta"},
                {"delta",
                 {{"stop_reason", stop_reason(answer)}, {"stop_sequence", stop_sequence(answer)}}},
                {"usage", usage_json(answer.usage)}}) +
         event({{"type", "message_stop"}});
}

std::string_view error_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    case 504:
      return "timeout_error";
    default:
      return status >= 500 ? "api_error" : "invalid_request_error";
  }
}

}  // namespace

std::unique_ptr<AnswerWriter> make_messages_writer(std::string model) {
  return std::make_unique<MessagesWriter>(std::move(model));
}

std::string anthropic_error(const Problem& problem) {
  return json_text(
      {{"type", "error"},
       {"error", {{"type", error_type(problem.status)}, {"message", problem.message}}}});
}

}  // namespace varve::server
