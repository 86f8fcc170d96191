// What the engine's thread and those who want text from it tell each other: a request on the way
// there, events on the way back. A Generation is shared by the two and locked inside.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "engine/sampler.h"
#include "grammar/grammar_compiler.h"

namespace varve::server {

struct GenerationRequest {
  std::vector<int32_t> prompt;
  SamplerOptions sampling = {};
  std::vector<int32_t> end_ids = {};           // that end an answer, besides the model's EOS
  std::vector<std::string> stop_strings = {};  // that end it too; none is empty
  std::optional<int> max_tokens = {};          // nothing: what the context has left
  bool ignore_eos = false;
  /// What the answer follows, where it has to, and the token behind which that begins; nothing: at
  /// once. Not with ignore_eos.
  std::optional<CompiledGrammar> grammar = {};
  std::optional<int32_t> grammar_behind = {};
  std::optional<int> n_top_logprobs = {};  // wanted beside each token's own; nothing: no logprobs
};

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;
};

/// A token that was sampled: where the request wants logprobs, its own and the likeliest ones,
/// likeliest first.
struct SampledToken {
  int32_t id = 0;
  float logprob = 0;
  std::vector<TokenLogprob> top = {};
};

enum class FinishReason {
  end_token,    // EOS or one of end_ids, which is not handed out
  stop_string,  // text before it was handed out
  length,       // max_tokens, or the context is full
};

// ---- events, in the order in which they come: Admitted, any number of Piece, then Finished or
// Failed. After a cancel() nothing has to come any more.

/// The request has a session, which knew the first n_cached tokens of the prompt.
struct Admitted {
  int n_cached = 0;
};

/// Text that is certain, and the tokens that ended with it. Either may be empty: a token may end
/// inside of a character, and text may wait for what could be a stop string.
struct Piece {
  std::string text = {};
  std::vector<SampledToken> tokens = {};
};

struct Finished {
  FinishReason reason = FinishReason::length;
  std::string stop_string = {};  // the one that was met
  int n_sampled = 0;             // tokens, those that a stop string cut off and the end token too
  /// What later conversations may hold on to: the tokens that lie before a stop string, and the
  /// text that they stand for.
  std::vector<int32_t> ids = {};
  std::string text = {};
};

/// Failed after it was admitted, or the server is shutting down.
struct Failed {
  Error error;
};

using Event = std::variant<Admitted, Piece, Finished, Failed>;

/// Wakes the engine's thread: something has come in, or there is room again.
class Doorbell {
 public:
  void ring();
  /// Until it rang since the last call.
  void wait();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool rang_ = false;
};

class Generation {
 public:
  using Clock = std::chrono::steady_clock;

  /// max_pieces: that wait for their reader, at most. `bell` outlives the Generation.
  Generation(GenerationRequest request, size_t max_pieces, std::shared_ptr<Doorbell> bell);

  // ---- of those who asked

  /// The next event; nothing when none came until `deadline`.
  std::optional<Event> next(Clock::time_point deadline);
  /// Nobody waits for the rest.
  void cancel();

  // ---- of the engine's thread

  const GenerationRequest& request() const { return request_; }
  bool is_cancelled() const;
  /// Whether a Piece may be pushed. Other events always may: there are two of them at most.
  bool has_room() const;
  void push(Event event);

  const Clock::time_point submitted_at = Clock::now();

 private:
  const GenerationRequest request_;
  const size_t max_pieces_;
  const std::shared_ptr<Doorbell> bell_;

  mutable std::mutex mutex_;
  std::condition_variable came_;
  std::deque<Event> events_;
  size_t n_pieces_ = 0;  // of events_
  bool is_cancelled_ = false;
};

}  // namespace varve::server
