// The engine's thread: the only one that touches the engine, its sessions and their rows. Others
// hand it requests by a bounded queue and read what comes of them from a bounded one each.
//
// A round is: admit what waits, one step of the engine, one token for each session that has logits.
#pragma once

#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/engine.h"
#include "grammar/answer_constraint.h"
#include "server/cache_watch.h"
#include "server/generation.h"
#include "server/metrics.h"
#include "server/session_pool.h"
#include "server/stop_strings.h"
#include "tokenizer/tokenizer.h"

namespace varve::server {

struct LoopOptions {
  size_t max_waiting = 32;  // requests that wait for a session
  size_t max_pieces = 256;  // of text that wait for the reader of one request
};

class GenerationLoop {
 public:
  /// Engine and tokenizer outlive it.
  GenerationLoop(Engine& engine, const Tokenizer& tokenizer, const LoopOptions& options);
  ~GenerationLoop();
  GenerationLoop(const GenerationLoop&) = delete;
  GenerationLoop& operator=(const GenerationLoop&) = delete;

  // ---- any thread

  /// What a request asks for, held against the model and the context. Errors (usage): an empty
  /// prompt, one that is longer than the context, an id outside the vocabulary, sampling out of
  /// range.
  Result<void> check(const GenerationRequest& request) const;
  /// Puts a request that check() takes into the queue. Null: the queue is full, or the loop ends.
  std::shared_ptr<Generation> submit(GenerationRequest request);
  /// Runs `look` on the engine's thread, between two rounds, and waits for it. False: as null
  /// above.
  bool visit(std::function<void(SessionPool&)> look);
  /// The cache as it is between two rounds. Nothing: as false above.
  std::optional<CacheView> cache_view();
  LoopStats stats() const;
  /// Ends run(): what is under way fails. Nothing is taken from here on.
  void stop();
  bool is_stopping() const;

  // ---- the engine's thread

  /// Rounds until stop(); sleeps while there is nothing to do. What a round throws, as where memory
  /// has run out, is thrown on when all that waits has failed.
  void run();
  /// One round. False: there was nothing to do.
  bool advance();

 private:
  using Clock = Generation::Clock;

  struct Visit {
    std::function<void()> look;
    std::promise<bool> done;
  };

  /// A sampled token whose text is not handed out yet.
  struct HeldToken {
    SampledToken token;
    size_t end_byte = 0;  // where its text ends in the answer
  };

  /// A request that has a session.
  struct Run {
    Run(std::shared_ptr<Generation> asked, Session owned, Sampler drawn,
        const Tokenizer& tokenizer);

    std::shared_ptr<Generation> generation;
    Session session;
    uint64_t number = 0;  // as CacheWatch counts
    Sampler sampler;
    std::optional<AnswerConstraint> constraint = {};
    StreamDecoder decoder;
    StopStrings stops;
    int n_left = 0;         // tokens that may still be sampled
    bool has_read = false;  // the prompt
    std::deque<HeldToken> held;
    Finished result;          // its text is all that was decoded, until it ends
    size_t n_text_bytes = 0;  // of it, that the tokens which were handed out stand for
    bool is_over = false;
    Clock::time_point last_token_at = {};
  };

  bool ask(std::function<void()> look);
  void see_interval_points();
  bool take_visit();
  bool drop_cancelled();
  bool admit();
  Result<void> start(const std::shared_ptr<Generation>& generation);
  Result<std::optional<AnswerConstraint>> constraint_of(const GenerationRequest& request) const;
  bool sample(Run& run);
  Result<std::optional<int32_t>> draw(Run& run);
  void take_token(Run& run, int32_t id);
  bool ends(const Run& run, int32_t id) const;
  /// Pushes text, and the held tokens that end within the first n_certain_bytes of the answer.
  void hand_out(Run& run, std::string text, size_t n_certain_bytes);
  void finish(Run& run, FinishReason reason);
  void leave(Run& run);
  void fail(Generation& generation, Error error);
  void fail_all();
  template <class Change>
  void count(Change change);
  void count_sessions();

  Engine* engine_;
  const Tokenizer* tokenizer_;
  const LoopOptions options_;
  const std::shared_ptr<Doorbell> bell_ = std::make_shared<Doorbell>();

  mutable std::mutex mutex_;  // of what others hand over
  std::deque<std::shared_ptr<Generation>> waiting_;
  std::deque<Visit> visits_;
  bool is_stopping_ = false;

  mutable std::mutex stats_mutex_;
  LoopStats stats_;

  SessionPool pool_;
  CacheWatch watch_;
  std::vector<std::unique_ptr<Run>> runs_;
};

/// The token's own log-probability and the n likeliest ones, by the logits as the model gave them.
SampledToken with_logprobs(std::span<const float> logits, int32_t id, int n_top);

}  // namespace varve::server
