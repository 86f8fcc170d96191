// The engine's sessions between requests: each keeps what it has read until another one needs its
// place, and a request gets the one that knows most of its prompt. The engine's thread alone uses
// it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace varve::server {

/// A session that no request uses, as people see it.
struct ParkedSession {
  uint64_t id = 0;
  int n_tokens = 0;
  bool is_pinned = false;
  std::vector<int> resume_positions;
};

class SessionPool {
 public:
  /// `engine` outlives it.
  explicit SessionPool(Engine& engine) : engine_(&engine) {}

  struct Lease {
    Session session;   // has read the first n_cached of the ids; the others are for enqueue()
    int n_cached = 0;  // all of them only where its logits are those after the last one
  };
  /// Whether acquire() would find a place.
  bool has_place() const;
  /// Errors: as of Engine::new_session and Session::rewind.
  Result<Lease> acquire(std::span<const int32_t> ids);
  /// A session whose request is over, or was given up: what it has read is kept, with a resume
  /// point at its end.
  void park(Session session);

  int n_parked() const { return static_cast<int>(parked_.size()); }
  int64_t n_parked_tokens() const;

  // ---- what people may do with sessions. Errors (usage) name the id.

  std::vector<ParkedSession> list() const;
  /// A second one with the same past.
  Result<ParkedSession> fork(uint64_t id);
  Result<ParkedSession> rewind(uint64_t id, int n_tokens);
  /// A pinned one gives its place to nobody. One place is always left for requests.
  Result<ParkedSession> pin(uint64_t id, bool is_pinned);
  Result<void> remove(uint64_t id);

 private:
  struct Parked {
    uint64_t id;
    Session session;
    uint64_t last_use;
    bool is_pinned = false;
  };
  using Place = std::vector<Parked>::iterator;

  static ParkedSession describe(const Parked& parked);
  /// The largest number of tokens up to `n_wanted` that the session goes back to without reading.
  static int reach(const Session& session, int n_wanted);
  Result<Place> find(uint64_t id);
  size_t n_pinned() const;
  bool is_full() const;
  /// The least recently used one that may go and is not `keep`; end() where there is none.
  Place least_recent(Place keep);
  Result<Session> from(Place best, int n_tokens);

  Engine* engine_;
  std::vector<Parked> parked_;
  size_t n_leased_ = 0;
  uint64_t n_uses_ = 0;
  uint64_t last_id_ = 0;
};

}  // namespace varve::server
