// What the model wrote where it called tools, by the ids of the calls. Clients send such turns back
// taken apart, perhaps with keys in another order or without the reasoning; with the text of old
// they render to what was sampled, and the session need not read it anew.
#pragma once

#include <cstddef>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "chat/answer_parser.h"
#include "chat/chat_format.h"
#include "chat/said_turn.h"

namespace varve {

/// Many threads may use it.
class AnswerMemory {
 public:
  struct Limits {
    size_t n_answers = 1024;
    size_t n_bytes = size_t{32} << 20;  // of texts and of what they are compared by
  };
  explicit AnswerMemory(Limits limits) : limits_(limits) {}

  /// Keeps what a parser was given and made `events` of. Without calls of tools there is nothing to
  /// know it by. Those that were used least recently make room.
  void remember(const std::vector<AnswerEvent>& events, RawAnswer raw);

  /// Puts into raw_answers what is remembered of the request's messages, where they still say the
  /// same: the calls and the content, and the reasoning if there is one. White space around texts
  /// and marks of Tokenizer::as_plain_text do not count.
  void recall(ChatRequest& request);

  size_t n_answers() const;

 private:
  struct Answer {
    SaidTurn turn;
    RawAnswer raw;
  };
  using Answers = std::list<Answer>;

  void forget(Answers::iterator answer);
  static size_t bytes_of(const Answer& answer);

  const Limits limits_;
  mutable std::mutex mutex_;
  Answers answers_;  // the most recently used one first
  std::map<std::string, Answers::iterator, std::less<>> by_first_id_;
  size_t n_bytes_ = 0;
};

}  // namespace varve
