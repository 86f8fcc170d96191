// What a model writes, taken apart as it comes: reasoning, content, tool calls.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "chat/chat_format.h"
#include "server/answer.h"

namespace varve::server {

/// Reads the text of one answer. Without a format all of it is content.
class AnswerReader {
 public:
  /// Both outlive it; null: text that is continued.
  AnswerReader(const ChatFormat* format, const ChatRequest* request);

  /// The pieces that are certain by now.
  std::vector<AnswerPiece> push(std::string_view text);
  /// No more text comes: the rest.
  std::vector<AnswerPiece> finish();

 private:
  const ChatFormat* format_;
  const ChatRequest* request_;
  bool is_plain_;  // all of it is content
  std::string text_;
};

}  // namespace varve::server
