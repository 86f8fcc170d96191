// From a request that waits in the engine's queue to its answer: whole, or as a stream.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chat/answer_parser.h"
#include "server/answer.h"
#include "server/http_server.h"
#include "server/transcript_memory.h"

namespace varve::server {

struct AnswerTimes {
  std::chrono::milliseconds at_most = std::chrono::milliseconds::zero();  // of a request; 0: any
  std::chrono::milliseconds keep_alive = std::chrono::seconds(5);         // silence in a stream
};

/// One request on its way.
struct AnswerJob {
  AnswerJob(std::shared_ptr<Generation> asked, std::unique_ptr<AnswerWriter> written);
  AnswerJob(AnswerJob&&) = default;
  AnswerJob& operator=(AnswerJob&&) = delete;
  /// Whoever leaves without the end of an answer does not want it.
  ~AnswerJob();

  std::shared_ptr<Generation> generation;
  std::unique_ptr<AnswerWriter> writer;
  bool wants_logprobs = false;
  // Of a chat: what takes answers apart; the tokens of its prompt, for those who ask again.
  std::unique_ptr<AnswerParser> parser = nullptr;
  std::optional<Transcript> transcript = {};
  TranscriptMemory* memory = nullptr;
  const Tokenizer* tokenizer = nullptr;
  AnswerTimes times = {};
  /// Called at the end, with what became of it: "stop", "length", "cancelled", ...
  std::function<void(const Usage&, std::string_view)> log = {};
};

/// Waits for the whole answer; gives up when has_client says that nobody waits for it.
tl::expected<std::string, Problem> whole_answer(AnswerJob job,
                                                const std::function<bool()>& has_client);

/// Writes the answer as it comes. What goes wrong is written too.
void stream_answer(AnswerJob job, HttpStream& stream);

}  // namespace varve::server
