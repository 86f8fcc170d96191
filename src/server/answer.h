// An answer as the APIs see it, whole and piece by piece, and what turns it into their JSON.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/answer_parser.h"
#include "server/generation.h"
#include "tokenizer/tokenizer.h"

namespace varve::server {

struct Usage {
  int n_prompt = 0;
  int n_cached = 0;  // of them
  int n_sampled = 0;
};

struct Answer {
  std::string reasoning;
  std::string content;
  std::vector<AnswerToolCall> tool_calls;
  std::vector<SampledToken> tokens;  // where logprobs are wanted
  FinishReason reason = FinishReason::length;
  std::string stop_string;
  Usage usage;
};

/// A piece of an answer, as it comes.
struct AnswerPiece {
  AnswerEvent event;
  std::vector<SampledToken> tokens;  // where logprobs are wanted
};

/// What went wrong, in the words of HTTP.
struct Problem {
  int status = 400;
  std::string message;
  std::string code = {};  // of OpenAI's: "context_length_exceeded"
  int retry_after_s = 0;  // 0: not said
};

/// One answer in one API's JSON: whole(), or the texts of a stream in their order: begin(), any
/// number of piece(), end(). keep_alive() and failure() may come at any place.
class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;

  virtual std::string whole(const Answer& answer) = 0;

  virtual std::string begin(const Usage& usage) = 0;
  virtual std::string piece(const AnswerPiece& piece) = 0;
  /// `answer` holds all that the pieces said.
  virtual std::string end(const Answer& answer) = 0;
  virtual std::string keep_alive() = 0;
  virtual std::string failure(const Problem& problem) = 0;
};

/// Ends of what a request's ids begin with: "chatcmpl-" and 24 random letters.
std::string random_id(std::string_view prefix);

/// Seconds since 1970.
int64_t unix_time();

/// A token's bytes as well-formed UTF-8.
std::string token_text(const Tokenizer& tokenizer, int32_t id);

}  // namespace varve::server
