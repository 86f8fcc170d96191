// The engine's sessions, and those that are over: their tokens are written down, so that people can
// see, fork, rewind and pin them. What the cache keeps of their rows is found by the tokens alone.
// The engine's thread alone uses it.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace varve::server {

/// A session that no request uses, as people see it.
struct KeptSession {
  uint64_t id = 0;
  int n_tokens = 0;
  bool is_pinned = false;
};

class SessionPool {
 public:
  /// Sessions that are over and written down, and tokens of all of them, at most: those that were
  /// used least recently go.
  static constexpr size_t kMaxKept = 64;
  static constexpr size_t kMaxKeptTokens = size_t{4} << 20;

  /// `engine` outlives it.
  explicit SessionPool(Engine& engine) : engine_(&engine) {}

  /// Whether acquire() would find a place.
  bool has_place() const;
  /// A session that reads `ids`: what the cache knows of them is there, the others wait. Errors: as
  /// of Engine::new_session.
  Result<Session> acquire(std::span<const int32_t> ids);
  /// A session whose request is over, or was given up. It ends where it is.
  void release(Session session);

  // ---- what people may do with sessions that are over. Errors (usage) name the id.

  std::vector<KeptSession> list() const;
  int n_kept() const { return static_cast<int>(kept_.size()); }
  int64_t n_kept_tokens() const { return static_cast<int64_t>(n_tokens_); }

  Result<std::vector<int32_t>> ids(uint64_t id);
  /// A second one with the same past.
  Result<KeptSession> fork(uint64_t id);
  /// Forgets all but the first n_tokens.
  Result<KeptSession> rewind(uint64_t id, int n_tokens);
  /// A pinned one has a session of the engine, whose rows stay. One place is always left for
  /// requests.
  Result<KeptSession> pin(uint64_t id, bool is_pinned);
  /// Its tokens are not written down any more; what the cache has of its rows goes as others come.
  Result<void> remove(uint64_t id);

 private:
  struct Kept {
    uint64_t id;
    std::vector<int32_t> ids;
    std::optional<Session> pin = {};
  };
  using Place = std::list<Kept>::iterator;

  static KeptSession describe(const Kept& kept);
  Result<Place> find(uint64_t id);
  size_t n_pinned() const;
  const Kept& keep(Kept kept);
  void make_room();

  Engine* engine_;
  std::list<Kept> kept_;  // the most recently used one first
  size_t n_tokens_ = 0;   // of all of them
  size_t n_running_ = 0;
  uint64_t last_id_ = 0;
};

}  // namespace varve::server
