// Answers of OpenAI's chat completions and completions.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "server/answer.h"

namespace varve::server {

struct OpenaiWriterOptions {
  std::string model;
  bool wants_usage = false;  // at the end of a stream
  bool wants_logprobs = false;
};

/// `tokenizer` outlives them.
std::unique_ptr<AnswerWriter> make_chat_completion_writer(const Tokenizer& tokenizer,
                                                          OpenaiWriterOptions options);
std::unique_ptr<AnswerWriter> make_completion_writer(const Tokenizer& tokenizer,
                                                     OpenaiWriterOptions options);

/// [{"token", "logprob", "bytes", "top_logprobs"}]
nlohmann::ordered_json openai_logprobs(const Tokenizer& tokenizer,
                                       const std::vector<SampledToken>& tokens);

/// {"error": {...}}. `param` is the field that the message begins with, if it does.
std::string openai_error(const Problem& problem);

}  // namespace varve::server
