#include "server/responses_response.h"

#include <nlohmann/json.hpp>

#include "server/json_text.h"
#include "server/openai_response.h"

namespace varve::server {
namespace {

using Json = nlohmann::ordered_json;
using Kind = AnswerEvent::Kind;

Json usage_json(const Usage& usage) {
  return {{"input_tokens", usage.n_prompt},
          {"input_tokens_details", {{"cached_tokens", usage.n_cached}}},
          {"output_tokens", usage.n_sampled},
          {"output_tokens_details", {{"reasoning_tokens", 0}}},
          {"total_tokens", usage.n_prompt + usage.n_sampled}};
}

class ResponsesWriter : public AnswerWriter {
 public:
  ResponsesWriter(const Tokenizer& tokenizer, ResponsesWriterOptions options)
      : tokenizer_(&tokenizer), options_(std::move(options)) {}

  std::string whole(const Answer& answer) override;
  std::string begin(const Usage& usage) override;
  std::string piece(const AnswerPiece& piece) override;
  std::string end(const Answer& answer) override;
  std::string keep_alive() override { return ": still reading\n\n"; }
  std::string failure(const Problem& problem) override;

 private:
  /// An item of the output that is being written, or was.
  struct Item {
    Kind kind = Kind::content;
    std::string id;
    std::string text;
    AnswerToolCall call;
    std::vector<SampledToken> tokens;
  };

  // Each counts itself: two in one expression would come in no certain order.
  std::string event(std::string_view type, Json fields);
  /// An event of the part that the open item consists of.
  std::string part_event(std::string_view type, Json fields);
  Json response(std::string_view status, Json output, Json usage) const;
  Json finished(const Answer& answer) const;
  Json part(const Item& item) const;
  Json item_json(const Item& item, std::string_view status) const;
  std::string open(const AnswerPiece& piece);
  std::string call_part(const AnswerPiece& piece);
  /// Whether the open item is the event's call.
  bool is_in_parts(const AnswerEvent& event) const {
    return is_open_ && item_.kind == Kind::tool_call && item_.call.id == event.call.id;
  }
  std::string close(bool is_whole_call = false);

  const Tokenizer* tokenizer_;
  const ResponsesWriterOptions options_;
  const std::string id_ = random_id("resp_");
  const int64_t created_ = unix_time();

  int n_events_ = 0;
  bool has_begun_ = false;
  bool is_open_ = false;
  Item item_;                    // where is_open_
  Json output_ = Json::array();  // items before it
};

std::string ResponsesWriter::event(std::string_view type, Json fields) {
  Json json = {{"type", type}};
  json.update(fields);
  json["sequence_number"] = n_events_++;
  return fmt::format("event: {}\ndata: {}\n\n", type, json_text(json));
}

std::string ResponsesWriter::part_event(std::string_view type, Json fields) {
  Json json = {{"item_id", item_.id}, {"output_index", output_.size()}};
  if (item_.kind != Kind::tool_call) json["content_index"] = 0;
  json.update(fields);
  return event(type, std::move(json));
}

Json ResponsesWriter::response(std::string_view status, Json output, Json usage) const {
  const auto repeated = [&](std::string_view key, Json missing) {
    const jinja::Value* const value = options_.body.find(key);
    return value == nullptr ? std::move(missing) : json_of(*value);
  };
  return {{"id", id_},
          {"object", "response"},
          {"created_at", created_},
          {"status", status},
          {"background", false},
          {"error", nullptr},
          {"incomplete_details", nullptr},
          {"instructions", repeated("instructions", nullptr)},
          {"max_output_tokens", repeated("max_output_tokens", nullptr)},
          {"model", options_.model},
          {"output", std::move(output)},
          {"parallel_tool_calls", repeated("parallel_tool_calls", true)},
          {"previous_response_id", nullptr},
          {"reasoning", repeated("reasoning", {{"effort", nullptr}, {"summary", nullptr}})},
          {"store", false},
          {"temperature", options_.temperature},
          {"text", repeated("text", {{"format", {{"type", "text"}}}})},
          {"tool_choice", repeated("tool_choice", "auto")},
          {"tools", repeated("tools", Json::array())},
          {"top_p", options_.top_p},
          {"truncation", "disabled"},
          {"usage", std::move(usage)},
          {"user", repeated("user", nullptr)},
          {"metadata", repeated("metadata", Json::object())}};
}

Json ResponsesWriter::part(const Item& item) const {
  if (item.kind == Kind::reasoning) return {{"type", "reasoning_text"}, {"text", item.text}};
  Json logprobs = Json::array();
  if (options_.wants_logprobs) logprobs = openai_logprobs(*tokenizer_, item.tokens);
  return {{"type", "output_text"},
          {"text", item.text},
          {"annotations", Json::array()},
          {"logprobs", std::move(logprobs)}};
}

Json ResponsesWriter::item_json(const Item& item, std::string_view status) const {
  if (item.kind == Kind::tool_call) {
    return {{"id", item.id},          {"type", "function_call"},
            {"status", status},       {"call_id", item.call.id},
            {"name", item.call.name}, {"arguments", item.call.arguments}};
  }
  Json content = Json::array();
  if (status != "in_progress") content.push_back(part(item));
  if (item.kind == Kind::reasoning) {
    return {{"id", item.id},
            {"type", "reasoning"},
            {"status", status},
            {"summary", Json::array()},
            {"content", std::move(content)}};
  }
  return {{"id", item.id},
          {"type", "message"},
          {"status", status},
          {"role", "assistant"},
          {"content", std::move(content)}};
}

Json ResponsesWriter::finished(const Answer& answer) const {
  const bool is_cut = answer.reason == FinishReason::length;
  Json json = response(is_cut ? "incomplete" : "completed", output_, usage_json(answer.usage));
  if (is_cut) json["incomplete_details"] = {{"reason", "max_output_tokens"}};
  return json;
}

std::string ResponsesWriter::begin(const Usage&) {
  has_begun_ = true;
  const Json now = response("in_progress", Json::array(), nullptr);
  std::string out = event("response.created", {{"response", now}});
  out += event("response.in_progress", {{"response", now}});
  return out;
}

std::string ResponsesWriter::open(const AnswerPiece& piece) {
  is_open_ = true;
  item_ = {};
  item_.kind = piece.event.kind;
  item_.call = piece.event.call;
  item_.id = random_id(piece.event.kind == Kind::tool_call   ? "fc_"
                       : piece.event.kind == Kind::reasoning ? "rs_"
                                                             : "msg_");
  Item empty = item_;
  empty.call.arguments = {};
  std::string out =
      event("response.output_item.added",
            {{"output_index", output_.size()}, {"item", item_json(empty, "in_progress")}});
  if (piece.event.kind == Kind::tool_call) return out;
  out += part_event("response.content_part.added", {{"part", part(empty)}});
  return out;
}

// A call in parts that something else follows broke off: its arguments have no end.
std::string ResponsesWriter::close(bool is_whole_call) {
  if (!std::exchange(is_open_, false)) return {};
  std::string out;
  const bool is_broken = item_.kind == Kind::tool_call && !is_whole_call;
  if (item_.kind == Kind::tool_call) {
    if (!is_broken) {
      out = part_event("response.function_call_arguments.done",
                       {{"name", item_.call.name}, {"arguments", item_.call.arguments}});
    }
  } else if (item_.kind == Kind::reasoning) {
    out = part_event("response.reasoning_text.done", {{"text", item_.text}});
    out += part_event("response.content_part.done", {{"part", part(item_)}});
  } else {
    const Json whole = part(item_);
    out = part_event("response.output_text.done",
                     {{"text", item_.text}, {"logprobs", whole["logprobs"]}});
    out += part_event("response.content_part.done", {{"part", whole}});
  }
  Json item = item_json(item_, is_broken ? "incomplete" : "completed");
  out += event("response.output_item.done", {{"output_index", output_.size()}, {"item", item}});
  output_.push_back(std::move(item));
  return out;
}

std::string ResponsesWriter::call_part(const AnswerPiece& piece) {
  std::string out;
  if (!is_in_parts(piece.event)) {
    out = close();
    out += open({{.kind = Kind::tool_call, .call = piece.event.call}, {}});
  }
  item_.call.arguments += piece.event.text;
  return out + part_event("response.function_call_arguments.delta", {{"delta", piece.event.text}});
}

std::string ResponsesWriter::piece(const AnswerPiece& piece) {
  if (piece.event.kind == Kind::call_part) return call_part(piece);
  if (piece.event.kind == Kind::tool_call && is_in_parts(piece.event)) return close(true);
  const bool is_call = piece.event.kind == Kind::tool_call;
  std::string out;
  if (is_call || !is_open_ || piece.event.kind != item_.kind) {
    if (!is_call && piece.event.text.empty()) return {};
    out = close();
    out += open(piece);
  }
  if (is_call) {
    out += part_event("response.function_call_arguments.delta",
                      {{"delta", piece.event.call.arguments}});
    out += close(true);
    return out;
  }
  item_.text += piece.event.text;
  item_.tokens.insert(item_.tokens.end(), piece.tokens.begin(), piece.tokens.end());
  if (piece.event.kind == Kind::reasoning) {
    out += part_event("response.reasoning_text.delta", {{"delta", piece.event.text}});
    return out;
  }
  Json logprobs = Json::array();
  if (options_.wants_logprobs) logprobs = openai_logprobs(*tokenizer_, piece.tokens);
  out += part_event("response.output_text.delta",
                    {{"delta", piece.event.text}, {"logprobs", std::move(logprobs)}});
  return out;
}

std::string ResponsesWriter::end(const Answer& answer) {
  std::string out = close();
  const bool is_cut = answer.reason == FinishReason::length;
  out += event(is_cut ? "response.incomplete" : "response.completed",
               {{"response", finished(answer)}});
  return out;
}

std::string ResponsesWriter::whole(const Answer& answer) {
  // What the stream's items come to, without the stream.
  const auto add = [&](Kind kind, const std::string& text, std::vector<SampledToken> tokens) {
    if (text.empty()) return;
    piece({{.kind = kind, .text = text}, std::move(tokens)});
  };
  add(Kind::reasoning, answer.reasoning, {});
  add(Kind::content, answer.content, answer.tokens);
  for (const AnswerToolCall& call : answer.tool_calls) {
    piece({{.kind = Kind::tool_call, .call = call}, {}});
  }
  close();
  return json_text(finished(answer));
}

std::string ResponsesWriter::failure(const Problem& problem) {
  const Json code = problem.code.empty() ? "server_error" : problem.code;
  if (!has_begun_) {
    return event("error", {{"code", code}, {"message", problem.message}, {"param", nullptr}});
  }
  Json json = response("failed", output_, nullptr);
  json["error"] = {{"code", code}, {"message", problem.message}};
  return event("response.failed", {{"response", std::move(json)}});
}

}  // namespace

std::unique_ptr<AnswerWriter> make_responses_writer(const Tokenizer& tokenizer,
                                                    ResponsesWriterOptions options) {
  return std::make_unique<ResponsesWriter>(tokenizer, std::move(options));
}

}  // namespace varve::server
