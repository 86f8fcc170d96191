#include <algorithm>
#include <utility>

#include "engine/engine.h"

namespace varve {

Session::Session(Engine* engine, int slot, Sequence sequence, float* logits)
    : engine_(engine), sequence_(std::move(sequence)), logits_(logits), slot_(slot) {
  engine_->sessions_[static_cast<size_t>(slot_)] = this;
}

Session::Session(Session&& other) noexcept {
  *this = std::move(other);
}

Session& Session::operator=(Session&& other) noexcept {
  if (this == &other) return *this;
  leave();
  engine_ = std::exchange(other.engine_, nullptr);
  sequence_ = std::move(other.sequence_);
  pending_ = std::move(other.pending_);
  next_pending_ = other.next_pending_;
  logits_ = other.logits_;
  has_logits_ = other.has_logits_;
  slot_ = other.slot_;
  if (engine_ != nullptr) engine_->sessions_[static_cast<size_t>(slot_)] = this;
  return *this;
}

Session::~Session() {
  leave();
}

void Session::leave() {
  if (engine_ != nullptr) engine_->sessions_[static_cast<size_t>(slot_)] = nullptr;
  engine_ = nullptr;
  sequence_ = Sequence();
}

Result<void> Session::enqueue(std::span<const int32_t> ids) {
  const int vocab = engine_->model_->vocab_size();
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab) {
      return usage_error("token {} has id {}; the vocabulary has ids 0 to {}", i, ids[i],
                         vocab - 1);
    }
  }
  const size_t in_all =
      static_cast<size_t>(n_tokens()) + static_cast<size_t>(n_pending()) + ids.size();
  if (in_all > static_cast<size_t>(engine_->options_.ctx_tokens)) {
    return usage_error("the context holds {} tokens; {} are asked for",
                       engine_->options_.ctx_tokens, in_all);
  }
  VARVE_CHECKED(sequence_.reserve(static_cast<int>(in_all)));
  pending_.insert(pending_.end(), ids.begin(), ids.end());
  return {};
}

Result<void> Session::append(std::span<const int32_t> ids) {
  VARVE_CHECKED(enqueue(ids));
  while (n_pending() > 0) engine_->step();
  return {};
}

std::span<const float> Session::logits() const {
  if (!has_logits_) return {};
  return {logits_, static_cast<size_t>(engine_->model_->vocab_size())};
}

Result<Session> Session::fork() const {
  VARVE_TRY(Sequence sequence, sequence_.fork());
  VARVE_TRY(Session twin, engine_->adopt(std::move(sequence)));
  twin.has_logits_ = has_logits_;
  if (has_logits_) std::copy_n(logits_, engine_->model_->vocab_size(), twin.logits_);
  return twin;
}

Result<void> Session::rewind(int n) {
  if (n < 0 || n > n_tokens()) {
    return usage_error("cannot rewind to token {}: the session has {}", n, n_tokens());
  }
  if (n == n_tokens() && n_pending() == 0) return {};
  pending_.clear();
  next_pending_ = 0;
  if (n == n_tokens() && has_logits_) return {};
  // The last token that stays is always read again: its logits are asked for.
  const std::vector<int32_t> past(ids().begin(), ids().begin() + n);
  const int from = sequence_.rewind_to_resume_point(std::max(0, n - 1));
  has_logits_ = false;
  return append(std::span(past).subspan(static_cast<size_t>(from)));
}

}  // namespace varve
