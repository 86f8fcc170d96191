#include "server/session_pool.h"

#include <algorithm>
#include <utility>

namespace varve::server {

ParkedSession SessionPool::describe(const Parked& parked) {
  return {.id = parked.id,
          .n_tokens = parked.session.n_tokens(),
          .is_pinned = parked.is_pinned,
          .resume_positions = parked.session.resume_positions()};
}

int SessionPool::reach(const Session& session, int n_wanted) {
  if (n_wanted >= session.n_tokens()) return session.n_tokens();
  const std::vector<int> points = session.resume_positions();
  const auto above = std::upper_bound(points.begin(), points.end(), n_wanted);
  return above == points.begin() ? 0 : *(above - 1);
}

size_t SessionPool::n_pinned() const {
  return static_cast<size_t>(std::count_if(parked_.begin(), parked_.end(),
                                           [](const Parked& one) { return one.is_pinned; }));
}

bool SessionPool::is_full() const {
  return n_leased_ + parked_.size() >= static_cast<size_t>(engine_->options().n_sessions);
}

bool SessionPool::has_place() const {
  return n_leased_ + n_pinned() < static_cast<size_t>(engine_->options().n_sessions);
}

SessionPool::Place SessionPool::least_recent(Place keep) {
  Place oldest = parked_.end();
  for (Place it = parked_.begin(); it != parked_.end(); ++it) {
    if (it == keep || it->is_pinned) continue;
    if (oldest == parked_.end() || it->last_use < oldest->last_use) oldest = it;
  }
  return oldest;
}

// What is lost is to be as little as possible: the end of `best`, or the whole of the session that
// was used least recently. Where a place is free nothing is.
Result<Session> SessionPool::from(Place best, int n_tokens) {
  const int tail = best->session.n_tokens() - n_tokens;
  bool takes_over = tail == 0 && !best->is_pinned;
  if (!takes_over && is_full()) {
    const Place oldest = least_recent(best);
    takes_over =
        !best->is_pinned && (oldest == parked_.end() || tail <= oldest->session.n_tokens());
    if (!takes_over && oldest != parked_.end()) {
      const uint64_t id = best->id;
      parked_.erase(oldest);
      VARVE_TRY(best, find(id));
    }
  }
  if (!takes_over) return best->session.fork();
  Session session = std::move(best->session);
  parked_.erase(best);
  return session;
}

Result<SessionPool::Lease> SessionPool::acquire(std::span<const int32_t> ids) {
  Place best = parked_.end();
  int best_reach = 0;
  for (Place it = parked_.begin(); it != parked_.end(); ++it) {
    const auto there = it->session.ids();
    const auto differs = std::mismatch(there.begin(), there.end(), ids.begin(), ids.end());
    const int n = reach(it->session, static_cast<int>(differs.first - there.begin()));
    if (n <= best_reach) continue;
    best = it;
    best_reach = n;
  }
  if (best == parked_.end()) {
    if (is_full()) {
      const Place oldest = least_recent(parked_.end());
      if (oldest != parked_.end()) parked_.erase(oldest);
    }
    VARVE_TRY(Session session, engine_->new_session());
    ++n_leased_;
    return Lease{std::move(session), 0};
  }
  best->last_use = ++n_uses_;
  VARVE_TRY(Session session, from(best, best_reach));
  VARVE_CHECKED(session.rewind(best_reach));
  ++n_leased_;
  return Lease{std::move(session), best_reach};
}

void SessionPool::park(Session session) {
  --n_leased_;
  if (session.n_tokens() == 0) return;
  session.save_resume_point();
  // What still waits to be read is not wanted any more; the resume point makes that free.
  if (session.n_pending() > 0 && !session.rewind(session.n_tokens())) return;
  parked_.push_back({++last_id_, std::move(session), ++n_uses_});
}

int64_t SessionPool::n_parked_tokens() const {
  int64_t n = 0;
  for (const Parked& one : parked_) n += one.session.n_tokens();
  return n;
}

// ---- what people may do

Result<SessionPool::Place> SessionPool::find(uint64_t id) {
  const auto it =
      std::find_if(parked_.begin(), parked_.end(), [&](const Parked& one) { return one.id == id; });
  if (it == parked_.end()) return usage_error("no session {} is parked", id);
  return it;
}

std::vector<ParkedSession> SessionPool::list() const {
  std::vector<ParkedSession> all;
  all.reserve(parked_.size());
  for (const Parked& one : parked_) all.push_back(describe(one));
  return all;
}

Result<ParkedSession> SessionPool::fork(uint64_t id) {
  VARVE_TRY(Place place, find(id));
  if (is_full()) {
    const Place oldest = least_recent(place);
    if (oldest == parked_.end())
      return usage_error("no place is left for a fork of session {}", id);
    parked_.erase(oldest);
    VARVE_TRY(place, find(id));
  }
  VARVE_TRY(Session twin, place->session.fork());
  parked_.push_back({++last_id_, std::move(twin), ++n_uses_});
  return describe(parked_.back());
}

Result<ParkedSession> SessionPool::rewind(uint64_t id, int n_tokens) {
  VARVE_TRY(const Place place, find(id));
  VARVE_CHECKED(place->session.rewind(n_tokens));
  place->last_use = ++n_uses_;
  return describe(*place);
}

Result<ParkedSession> SessionPool::pin(uint64_t id, bool is_pinned) {
  VARVE_TRY(const Place place, find(id));
  const auto n_sessions = static_cast<size_t>(engine_->options().n_sessions);
  if (is_pinned && !place->is_pinned && n_pinned() + 1 >= n_sessions) {
    return usage_error("session {} cannot be pinned: of {} sessions one is left for requests", id,
                       n_sessions);
  }
  place->is_pinned = is_pinned;
  return describe(*place);
}

Result<void> SessionPool::remove(uint64_t id) {
  VARVE_TRY(const Place place, find(id));
  parked_.erase(place);
  return {};
}

}  // namespace varve::server
