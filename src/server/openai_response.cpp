#include "server/openai_response.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "server/json_text.h"

namespace varve::server {
namespace {

using Json = nlohmann::ordered_json;

// In place of minus infinity, which JSON has no number for.
constexpr float kLeastLogprob = -9999;

std::string sse(const Json& json) {
  return "data: " + json_text(json) + "\n\n";
}

Json usage_json(const Usage& usage) {
  return {{"prompt_tokens", usage.n_prompt},
          {"completion_tokens", usage.n_sampled},
          {"total_tokens", usage.n_prompt + usage.n_sampled},
          {"prompt_tokens_details", {{"cached_tokens", usage.n_cached}}}};
}

Json finish_reason(const Answer& answer) {
  if (answer.reason == FinishReason::length) return "length";
  return answer.tool_calls.empty() ? "stop" : "tool_calls";
}

float logprob_number(float logprob) {
  return std::max(logprob, kLeastLogprob);
}

Json token_json(const Tokenizer& tokenizer, int32_t id, float logprob) {
  Json bytes = Json::array();
  for (const char c : tokenizer.piece(id)) bytes.push_back(static_cast<unsigned char>(c));
  return {{"token", token_text(tokenizer, id)},
          {"logprob", logprob_number(logprob)},
          {"bytes", std::move(bytes)}};
}

Json tool_call_json(const AnswerToolCall& call) {
  return {{"id", call.id},
          {"type", "function"},
          {"function", {{"name", call.name}, {"arguments", call.arguments}}}};
}

// What the two have in common.
class OpenaiWriter : public AnswerWriter {
 public:
  OpenaiWriter(const Tokenizer& tokenizer, OpenaiWriterOptions options, std::string_view id)
      : tokenizer_(&tokenizer), options_(std::move(options)), id_(random_id(id)) {}

  std::string keep_alive() override { return ": still reading\n\n"; }
  std::string failure(const Problem& problem) override {
    return "data: " + openai_error(problem) + "\n\n";
  }

 protected:
  Json frame(std::string_view object, Json choice) const {
    Json json = {{"id", id_},
                 {"object", object},
                 {"created", created_},
                 {"model", options_.model},
                 {"choices", Json::array()}};
    if (!choice.is_null()) json["choices"].push_back(std::move(choice));
    return json;
  }
  std::string chunk(std::string_view object, Json choice) const {
    Json json = frame(object, std::move(choice));
    if (options_.wants_usage) json["usage"] = nullptr;
    return sse(json);
  }
  std::string last_chunks(std::string_view object, const Usage& usage) const {
    std::string text;
    if (options_.wants_usage) {
      Json json = frame(object, nullptr);
      json["usage"] = usage_json(usage);
      text = sse(json);
    }
    return text + "data: [DONE]\n\n";
  }

  const Tokenizer* tokenizer_;
  const OpenaiWriterOptions options_;

 private:
  const std::string id_;
  const int64_t created_ = unix_time();
};

class ChatCompletionWriter : public OpenaiWriter {
 public:
  ChatCompletionWriter(const Tokenizer& tokenizer, OpenaiWriterOptions options)
      : OpenaiWriter(tokenizer, std::move(options), "chatcmpl-") {}

  std::string whole(const Answer& answer) override;
  std::string begin(const Usage& usage) override;
  std::string piece(const AnswerPiece& piece) override;
  std::string end(const Answer& answer) override;

 private:
  static constexpr std::string_view kChunk = "chat.completion.chunk";

  Json logprobs_json(const std::vector<SampledToken>& tokens) const {
    if (!options_.wants_logprobs) return nullptr;
    return {{"content", openai_logprobs(*tokenizer_, tokens)}, {"refusal", nullptr}};
  }
  Json choice(Json delta, Json reason) const {
    return {{"index", 0},
            {"delta", std::move(delta)},
            {"logprobs", nullptr},
            {"finish_reason", std::move(reason)}};
  }

  /// Of a call that is new, with its name; of the open one a piece of its arguments.
  Json call_delta(const AnswerToolCall& call, const std::string& arguments);

  int n_calls_ = 0;
  std::string open_call_;  // the id of the last one
};

std::string ChatCompletionWriter::whole(const Answer& answer) {
  Json message = {{"role", "assistant"}, {"content", answer.content}, {"refusal", nullptr}};
  if (!answer.reasoning.empty()) message["reasoning_content"] = answer.reasoning;
  if (!answer.tool_calls.empty()) {
    if (answer.content.empty()) message["content"] = nullptr;
    for (const AnswerToolCall& call : answer.tool_calls) {
      message["tool_calls"].push_back(tool_call_json(call));
    }
  }
  Json json = frame("chat.completion", {{"index", 0},
                                        {"message", std::move(message)},
                                        {"logprobs", logprobs_json(answer.tokens)},
                                        {"finish_reason", finish_reason(answer)}});
  json["usage"] = usage_json(answer.usage);
  return json_text(json);
}

std::string ChatCompletionWriter::begin(const Usage&) {
  return chunk(kChunk, choice({{"role", "assistant"}, {"content", ""}}, nullptr));
}

Json ChatCompletionWriter::call_delta(const AnswerToolCall& call, const std::string& arguments) {
  if (call.id == open_call_) {
    return {{"index", n_calls_ - 1}, {"function", {{"arguments", arguments}}}};
  }
  open_call_ = call.id;
  Json delta = {{"index", n_calls_++}};
  delta.update(tool_call_json({call.id, call.name, arguments}));
  return delta;
}

std::string ChatCompletionWriter::piece(const AnswerPiece& piece) {
  Json delta = Json::object();
  switch (piece.event.kind) {
    case AnswerEvent::Kind::reasoning:
      delta["reasoning_content"] = piece.event.text;
      break;
    case AnswerEvent::Kind::content:
      delta["content"] = piece.event.text;
      break;
    case AnswerEvent::Kind::call_part:
      delta["tool_calls"] = Json::array({call_delta(piece.event.call, piece.event.text)});
      break;
    case AnswerEvent::Kind::tool_call:
      // One that came in parts is said already.
      if (piece.event.call.id == open_call_ && piece.tokens.empty()) return {};
      if (piece.event.call.id == open_call_) break;
      delta["tool_calls"] = Json::array({call_delta(piece.event.call, piece.event.call.arguments)});
      break;
  }
  Json out = choice(std::move(delta), nullptr);
  if (!piece.tokens.empty()) out["logprobs"] = logprobs_json(piece.tokens);
  return chunk(kChunk, std::move(out));
}

std::string ChatCompletionWriter::end(const Answer& answer) {
  return chunk(kChunk, choice(Json::object(), finish_reason(answer))) +
         last_chunks(kChunk, answer.usage);
}

class CompletionWriter : public OpenaiWriter {
 public:
  CompletionWriter(const Tokenizer& tokenizer, OpenaiWriterOptions options)
      : OpenaiWriter(tokenizer, std::move(options), "cmpl-") {}

  std::string whole(const Answer& answer) override {
    Json json = frame(kObject, choice(answer.content, answer.tokens, finish_reason(answer)));
    json["usage"] = usage_json(answer.usage);
    return json_text(json);
  }
  std::string begin(const Usage&) override { return {}; }
  std::string piece(const AnswerPiece& piece) override {
    return chunk(kObject, choice(piece.event.text, piece.tokens, nullptr));
  }
  std::string end(const Answer& answer) override {
    return chunk(kObject, choice("", {}, finish_reason(answer))) +
           last_chunks(kObject, answer.usage);
  }

 private:
  static constexpr std::string_view kObject = "text_completion";

  Json choice(std::string_view text, const std::vector<SampledToken>& tokens, Json reason);

  size_t n_bytes_ = 0;  // of the tokens before
};

Json CompletionWriter::choice(std::string_view text, const std::vector<SampledToken>& tokens,
                              Json reason) {
  Json logprobs = nullptr;
  if (options_.wants_logprobs) {
    logprobs = {{"tokens", Json::array()},
                {"token_logprobs", Json::array()},
                {"top_logprobs", Json::array()},
                {"text_offset", Json::array()}};
    for (const SampledToken& token : tokens) {
      Json top = Json::object();
      for (const TokenLogprob& other : token.top) {
        top[token_text(*tokenizer_, other.id)] = logprob_number(other.logprob);
      }
      logprobs["tokens"].push_back(token_text(*tokenizer_, token.id));
      logprobs["token_logprobs"].push_back(logprob_number(token.logprob));
      logprobs["top_logprobs"].push_back(std::move(top));
      logprobs["text_offset"].push_back(n_bytes_);
      n_bytes_ += tokenizer_->piece(token.id).size();
    }
  }
  return {{"text", text},
          {"index", 0},
          {"logprobs", std::move(logprobs)},
          {"finish_reason", std::move(reason)}};
}

// "field `messages[1].content`: ..." -> messages[1].content
Json param_of(std::string_view message) {
  constexpr std::string_view kBegin = "field `";
  if (!message.starts_with(kBegin)) return nullptr;
  message.remove_prefix(kBegin.size());
  return message.substr(0, message.find('`'));
}

std::string_view error_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 429:
      return "rate_limit_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

}  // namespace

std::unique_ptr<AnswerWriter> make_chat_completion_writer(const Tokenizer& tokenizer,
                                                          OpenaiWriterOptions options) {
  return std::make_unique<ChatCompletionWriter>(tokenizer, std::move(options));
}

std::unique_ptr<AnswerWriter> make_completion_writer(const Tokenizer& tokenizer,
                                                     OpenaiWriterOptions options) {
  return std::make_unique<CompletionWriter>(tokenizer, std::move(options));
}

Json openai_logprobs(const Tokenizer& tokenizer, const std::vector<SampledToken>& tokens) {
  Json all = Json::array();
  for (const SampledToken& token : tokens) {
    Json entry = token_json(tokenizer, token.id, token.logprob);
    Json top = Json::array();
    for (const TokenLogprob& other : token.top) {
      top.push_back(token_json(tokenizer, other.id, other.logprob));
    }
    entry["top_logprobs"] = std::move(top);
    all.push_back(std::move(entry));
  }
  return all;
}

std::string openai_error(const Problem& problem) {
  return json_text({{"error",
                     {{"message", problem.message},
                      {"type", error_type(problem.status)},
                      {"param", param_of(problem.message)},
                      {"code", problem.code.empty() ? Json(nullptr) : Json(problem.code)}}}});
}

}  // namespace varve::server
