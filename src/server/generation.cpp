#include "server/generation.h"

#include <utility>

namespace varve::server {

void Doorbell::ring() {
  {
    const std::lock_guard lock(mutex_);
    rang_ = true;
  }
  changed_.notify_one();
}

void Doorbell::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return rang_; });
  rang_ = false;
}

Generation::Generation(GenerationRequest request, size_t max_pieces, std::shared_ptr<Doorbell> bell)
    : request_(std::move(request)), max_pieces_(max_pieces), bell_(std::move(bell)) {}

std::optional<Event> Generation::next(Clock::time_point deadline) {
  std::optional<Event> event;
  bool was_full = false;
  {
    std::unique_lock lock(mutex_);
    if (!came_.wait_until(lock, deadline, [&] { return !events_.empty(); })) return std::nullopt;
    event = std::move(events_.front());
    events_.pop_front();
    if (std::holds_alternative<Piece>(*event)) was_full = n_pieces_-- == max_pieces_;
  }
  if (was_full) bell_->ring();
  return event;
}

void Generation::cancel() {
  {
    const std::lock_guard lock(mutex_);
    is_cancelled_ = true;
  }
  bell_->ring();
}

bool Generation::is_cancelled() const {
  const std::lock_guard lock(mutex_);
  return is_cancelled_;
}

bool Generation::has_room() const {
  const std::lock_guard lock(mutex_);
  return n_pieces_ < max_pieces_;
}

void Generation::push(Event event) {
  {
    const std::lock_guard lock(mutex_);
    n_pieces_ += std::holds_alternative<Piece>(event) ? 1 : 0;
    events_.push_back(std::move(event));
  }
  came_.notify_one();
}

}  // namespace varve::server
