#include "store/write_queue.h"

#include <algorithm>

namespace varve {

std::optional<std::span<std::byte>> WriteQueue::push(const EntryKey& key, size_t bytes) {
  size_t at = 0;
  if (items_.empty()) {
    if (bytes > size_) return std::nullopt;
  } else {
    const auto first = static_cast<size_t>(items_.front().value.data() - ring_.get());
    const bool wrapped = end_ <= first;
    at = end_;
    if (!wrapped && size_ - at < bytes) at = 0;
    const size_t limit = wrapped || at == 0 ? first : size_;
    if (limit - at < bytes) return std::nullopt;
  }
  const std::span<std::byte> value(ring_.get() + at, bytes);
  items_.push_back({key, value});
  end_ = at + bytes;
  bytes_ += bytes;
  return value;
}

void WriteQueue::undo_push() {
  const std::span<std::byte> value = items_.back().value;
  bytes_ -= value.size();
  items_.pop_back();
  // Not where it began: that may be the start of the ring, with a gap before it.
  if (!items_.empty()) {
    end_ =
        static_cast<size_t>(items_.back().value.data() - ring_.get()) + items_.back().value.size();
  }
}

void WriteQueue::pop(size_t n) {
  for (size_t i = 0; i < n; ++i) {
    bytes_ -= items_.front().value.size();
    items_.pop_front();
  }
}

const WriteQueue::Item* WriteQueue::find(const EntryKey& key) const {
  const auto found =
      std::find_if(items_.begin(), items_.end(), [&](const Item& item) { return item.key == key; });
  return found == items_.end() ? nullptr : &*found;
}

}  // namespace varve
