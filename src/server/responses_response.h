// Answers of OpenAI's responses.
#pragma once

#include <memory>
#include <string>

#include "server/answer.h"
#include "server/request_fields.h"

namespace varve::server {

struct ResponsesWriterOptions {
  std::string model;
  /// What the answer repeats of its request.
  RequestFields body;
  double temperature = 1;
  double top_p = 1;
  bool wants_logprobs = false;
};

/// `tokenizer` outlives it.
std::unique_ptr<AnswerWriter> make_responses_writer(const Tokenizer& tokenizer,
                                                    ResponsesWriterOptions options);

}  // namespace varve::server
