#include "server/session_pool.h"

#include <algorithm>
#include <utility>

namespace varve::server {

KeptSession SessionPool::describe(const Kept& kept) {
  return {.id = kept.id,
          .n_tokens = static_cast<int>(kept.ids.size()),
          .is_pinned = kept.pin.has_value()};
}

size_t SessionPool::n_pinned() const {
  return static_cast<size_t>(std::count_if(kept_.begin(), kept_.end(),
                                           [](const Kept& one) { return one.pin.has_value(); }));
}

bool SessionPool::has_place() const {
  return n_running_ + n_pinned() < static_cast<size_t>(engine_->options().n_sessions);
}

Result<Session> SessionPool::acquire(std::span<const int32_t> ids) {
  VARVE_TRY(Session session, engine_->new_session(ids));
  ++n_running_;
  return session;
}

const SessionPool::Kept& SessionPool::keep(Kept kept) {
  n_tokens_ += kept.ids.size();
  kept_.push_front(std::move(kept));
  make_room();
  return kept_.front();
}

void SessionPool::make_room() {
  for (auto it = std::prev(kept_.end());
       it != kept_.begin() && (kept_.size() > kMaxKept || n_tokens_ > kMaxKeptTokens);) {
    const auto before = std::prev(it);
    if (!it->pin) {
      n_tokens_ -= it->ids.size();
      kept_.erase(it);
    }
    it = before;
  }
}

// One that goes on from another keeps its name.
void SessionPool::release(Session session) {
  --n_running_;
  if (session.n_tokens() == 0) return;
  const auto now = session.ids();
  Kept kept{.id = 0, .ids = {now.begin(), now.end()}};
  const auto before = std::find_if(kept_.begin(), kept_.end(), [&](const Kept& one) {
    return !one.pin && one.ids.size() <= now.size() &&
           std::equal(one.ids.begin(), one.ids.end(), now.begin());
  });
  if (before == kept_.end()) {
    kept.id = ++last_id_;
  } else {
    kept.id = before->id;
    n_tokens_ -= before->ids.size();
    kept_.erase(before);
  }
  keep(std::move(kept));
}

// ---- what people may do

Result<SessionPool::Place> SessionPool::find(uint64_t id) {
  const auto it =
      std::find_if(kept_.begin(), kept_.end(), [&](const Kept& one) { return one.id == id; });
  if (it == kept_.end()) return usage_error("there is no session {}", id);
  return it;
}

std::vector<KeptSession> SessionPool::list() const {
  std::vector<KeptSession> all;
  all.reserve(kept_.size());
  for (const Kept& one : kept_) all.push_back(describe(one));
  return all;
}

Result<std::vector<int32_t>> SessionPool::ids(uint64_t id) {
  VARVE_TRY(const Place place, find(id));
  return place->ids;
}

Result<KeptSession> SessionPool::fork(uint64_t id) {
  VARVE_TRY(const Place place, find(id));
  return describe(keep({.id = ++last_id_, .ids = place->ids}));
}

Result<KeptSession> SessionPool::rewind(uint64_t id, int n_tokens) {
  VARVE_TRY(const Place place, find(id));
  if (n_tokens < 1 || static_cast<size_t>(n_tokens) > place->ids.size()) {
    return usage_error("session {} cannot be rewound to {} tokens: it has {}", id, n_tokens,
                       place->ids.size());
  }
  if (place->pin) VARVE_CHECKED(place->pin->rewind(n_tokens));
  n_tokens_ -= place->ids.size() - static_cast<size_t>(n_tokens);
  place->ids.resize(static_cast<size_t>(n_tokens));
  return describe(*place);
}

Result<KeptSession> SessionPool::pin(uint64_t id, bool is_pinned) {
  VARVE_TRY(const Place place, find(id));
  if (is_pinned == place->pin.has_value()) return describe(*place);
  if (!is_pinned) {
    place->pin.reset();
    return describe(*place);
  }
  const auto n_sessions = static_cast<size_t>(engine_->options().n_sessions);
  if (n_pinned() + 1 >= n_sessions || !has_place()) {
    return usage_error(
        "session {} cannot be pinned: of {} sessions {} are pinned and {} run, and one is left for "
        "requests",
        id, n_sessions, n_pinned(), n_running_);
  }
  VARVE_TRY(place->pin, engine_->new_session(place->ids));
  return describe(*place);
}

Result<void> SessionPool::remove(uint64_t id) {
  VARVE_TRY(const Place place, find(id));
  n_tokens_ -= place->ids.size();
  kept_.erase(place);
  return {};
}

}  // namespace varve::server
