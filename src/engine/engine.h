// The engine: one model, one arena, and the only loop there is:
//
//     step() = schedule -> run -> postprocess
//
// A Session is a sequence of tokens that grows, forks and rewinds. Tokens given to a session wait
// until step() runs them, in chunks, together with those of other sessions. What a session's logits
// are never depends on that (law 1). One thread uses an engine and its sessions.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/arena.h"
#include "base/thread_pool.h"
#include "engine/persistence.h"
#include "kernels/exec.h"
#include "kvcache/cache.h"
#include "models/model.h"

namespace varve {

struct EngineOptions {
  int ctx_tokens = 4096;             // of each session, at most
  int n_sessions = 1;                // alive at once, at most kMaxLogitRows
  int chunk_tokens = 0;              // of one step, over all sessions; 0: see kMaxAutoScratchBytes
  int n_threads = 0;                 // 0: one per usable core
  const Kernels* kernels = nullptr;  // null: the fastest
  Products products = Products::f32;
  PoolFormats formats = {};
  int resume_points = 4;              // kept per session
  int resume_interval_tokens = 4096;  // a resume point at every multiple of it
  size_t arena_budget_bytes = 0;      // that the arena may take; 0: what the machine has
  // Room for what ended sessions leave to those that begin alike, beside what sessions take at
  // most.
  int kept_tokens = 0;  // in whole blocks
  int kept_points = 0;  // resume points
  // Of a step in which some sessions decode, tokens that others read at most: how long a token of
  // the former may take.
  int mixed_prefill_tokens = 128;
  int store_interval_tokens = 1 << 30;  // of those resume points, how far apart the store has them
  // Stands for the model and the formats of its rows where a store is used: store_fingerprint().
  BlockKey cache_root = {};
};

/// What a store's values are told apart by: the model (model_fingerprint()), and everything else
/// that a row depends on: kernels, products, formats and the version of what they compute.
Digest store_fingerprint(const Digest& model, const EngineOptions& options);

/// Where chunk_tokens is left open, it is the largest power of two from 32 to 512 whose scratch,
/// what each thread has for itself not counted, stays within this, and whose arena within the
/// budget and the machine.
inline constexpr size_t kMaxAutoScratchBytes = size_t{200} << 20;

/// What a run leaves free of what the machine has. From one look to the next the memory that it has
/// changes by some MiB; the heap takes address space in large pieces.
struct Spare {
  size_t memory_bytes = size_t{4} << 20;
  size_t address_bytes = size_t{16} << 20;
};

/// Every byte that an engine takes, by part, found by a dry run of its own layout.
struct MemoryPlan {
  /// Of the arena: what grows with the context and with sequences; rows of logits; all else.
  size_t cache_bytes() const;
  size_t logits_bytes() const;
  size_t scratch_bytes() const { return arena_bytes - cache_bytes() - logits_bytes(); }
  /// Of scratch: what grows with threads and not with the chunk.
  size_t thread_bytes() const;

  int chunk_tokens = 0;  // as asked for, or as chosen
  CacheBytes cache;      // the cache's part of the arena, by pool
  std::vector<ArenaPart> parts;
  size_t arena_bytes = 0;   // sum of the parts
  size_t weight_bytes = 0;  // files, mapped or copied
  size_t vector_bytes = 0;  // small tensors kept beside them as f32
  size_t loaded_bytes = 0;  // of both, what is in memory of this process already

  size_t total_bytes() const { return arena_bytes + weight_bytes + vector_bytes; }
};

/// Address space that a run takes beside mapped weights: arena, the threads' stacks, tensors that
/// are still to be read.
size_t address_space_bytes(const EngineOptions& options, const MemoryPlan& plan);

class Engine;

/// A session that was moved from, or whose engine is gone, is over: it has no tokens and no logits,
/// and refuses everything else.
class Session {
 public:
  Session(Session&& other) noexcept;
  Session& operator=(Session&& other) noexcept;
  ~Session();

  /// Tokens that have been read.
  int n_tokens() const { return sequence_ ? sequence_.n_tokens() : 0; }
  std::span<const int32_t> ids() const {
    return sequence_ ? sequence_.ids() : std::span<const int32_t>();
  }
  /// Tokens that wait for step().
  int n_pending() const { return n_pending_; }
  /// Of the tokens that the session was made for, those that the cache knew: they were not read.
  int n_reused() const { return n_reused_; }

  /// Gives the session tokens to read and returns at once. Errors (usage): an id outside the
  /// vocabulary, more tokens than the context holds; the session is then as it was.
  Result<void> enqueue(std::span<const int32_t> ids);
  /// enqueue, then step() until the tokens are read.
  Result<void> append(std::span<const int32_t> ids);

  /// Logits [vocab_size] after the last token read; empty before the first.
  std::span<const float> logits() const;

  /// A second session with the same past. Waiting tokens stay with this one.
  Result<Session> fork() const;

  /// Forgets all but the first n tokens, and those that wait; logits() are then those after token
  /// n - 1. Costs the replay from the nearest resume point at or below n.
  Result<void> rewind(int n);

  /// Fills an empty session with n tokens whose rows are seeded random values instead of computed
  /// ones: reaches a depth in no time, for measuring speed there. What is computed afterwards means
  /// nothing. Error (usage): the session is not empty, or n is beyond the context.
  Result<void> fill_seeded(int n, uint64_t seed);

  /// Makes the present position one that rewind() reaches without reading a token.
  void save_resume_point();
  std::vector<int> resume_positions() const {
    return sequence_ ? sequence_.resume_positions() : std::vector<int>();
  }
  const Sequence& sequence() const { return sequence_; }

 private:
  friend class Engine;
  Session(Engine* engine, int slot, Sequence sequence, float* logits);
  void leave();

  Engine* engine_ = nullptr;
  Sequence sequence_;
  int n_pending_ = 0;  // the first of sequence_.next_ids()
  int n_reused_ = 0;
  float* logits_ = nullptr;  // [vocab_size], the engine's
  bool has_logits_ = false;
  int slot_ = -1;
};

class Engine {
 public:
  /// What `options` would take, without taking it.
  static Result<MemoryPlan> plan(const Model& model, const EngineOptions& options);

  /// plan(), held against the budget and what the machine has now. Errors as of create().
  static Result<MemoryPlan> fit(const Model& model, const EngineOptions& options,
                                const Spare& spare = {});

  /// The largest context up to options.ctx_tokens, in whole blocks where it is less, whose arena is
  /// within the budget; 0 if none is.
  static int largest_context(const Model& model, const EngineOptions& options);
  /// The same of what `accept` takes, which refuses every context above one that it refuses.
  static int largest_context(EngineOptions options,
                             const std::function<bool(const EngineOptions&)>& accept);

  /// Errors (usage): options out of range; more memory than the budget or the machine has, with the
  /// numbers. plan/wall.h also says what would fit.
  static Result<std::unique_ptr<Engine>> create(std::shared_ptr<const Model> model,
                                                const EngineOptions& options);
  ~Engine();

  Result<Session> new_session();
  /// A session that reads these tokens: those that the cache knows are there already, the others
  /// wait for step(). Errors: as of enqueue(); all sessions are alive.
  Result<Session> new_session(std::span<const int32_t> ids);

  /// Runs one chunk of waiting tokens, of as many sessions as have some. Returns how many tokens
  /// it read: 0 when nothing waits.
  int step();

  /// From now on sealed blocks and resume points are put into `store`, and what new sessions begin
  /// with is looked for there. It outlives the engine; its fingerprint is the options' cache_root.
  void set_store(Store& store);
  /// Of the tokens that sessions were made for: those that were not read, and of all those that
  /// were known, the ones whose blocks came from the store.
  struct Reuse {
    uint64_t asked_tokens = 0;
    uint64_t reused_tokens = 0;
    uint64_t stored_tokens = 0;
  };
  /// Any thread may ask.
  Reuse reuse() const { return {asked_tokens_, reused_tokens_, stored_tokens_}; }

  const Model& model() const { return *model_; }
  const EngineOptions& options() const { return options_; }
  const MemoryPlan& memory() const { return memory_; }
  const Cache& cache() const { return *cache_; }
  const Kernels& kernels() const { return *options_.kernels; }
  int n_threads() const { return pool_->n_threads(); }
  PartTimes& times() { return runner_->times(); }
  Exec& exec() { return *exec_; }

  /// Looks on at every step from now on; null ends it.
  void set_probe(Probe* probe) { probe_ = probe; }

  /// Logits of rows of the last step, at most kMaxLogitRows of them: [rows.size(), vocab_size].
  void logits_of_rows(std::span<const int32_t> rows, float* out) { runner_->logits(rows, out); }

 private:
  friend class Session;
  Engine() = default;
  void assemble(std::shared_ptr<const Model> model, const EngineOptions& options);
  void lay_out(ArenaBuilder& arena);
  static MemoryPlan dry_run(const Model& model, const EngineOptions& options);
  static Result<MemoryPlan> fit_beside(const Model& model, const EngineOptions& options,
                                       const Spare& spare, size_t loaded_bytes);
  Result<Session> adopt(Sequence sequence);
  Result<void> check_ids(std::span<const int32_t> ids) const;
  int schedule();
  int take_turns(int left, bool decoding);
  void keep_interval_point(Session& session);
  void postprocess();

  std::shared_ptr<const Model> model_;
  EngineOptions options_;
  MemoryPlan memory_;
  Arena arena_;
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<Exec> exec_;
  std::unique_ptr<Cache> cache_;
  std::unique_ptr<Runner> runner_;
  std::unique_ptr<Persistence> persistence_;
  std::atomic<uint64_t> asked_tokens_ = 0, reused_tokens_ = 0, stored_tokens_ = 0;
  Probe* probe_ = nullptr;

  std::vector<Session*> sessions_;  // by slot; null where none is alive
  int next_slot_ = 0;               // whose turn it is
  float* logits_ = nullptr;         // [n_sessions, vocab_size]
  float* step_logits_ = nullptr;    // [n_sessions, vocab_size], rows of one step
  std::vector<int32_t> batch_ids_;
  std::vector<Segment> segments_;
  std::vector<int> segment_slots_;
  std::vector<int32_t> logit_rows_;
};

}  // namespace varve
