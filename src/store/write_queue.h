// Values that wait to be written: a ring of bytes of a fixed size, first in, first out.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <span>

#include "store/index.h"

namespace varve {

class WriteQueue {
 public:
  struct Item {
    EntryKey key;
    std::span<std::byte> value;
  };

  explicit WriteQueue(size_t bytes) : size_(bytes), ring_(std::make_unique<std::byte[]>(bytes)) {}

  /// Room for a value behind the others; nothing where there is none.
  std::optional<std::span<std::byte>> push(const EntryKey& key, size_t bytes);
  /// Takes out what was pushed last.
  void undo_push();
  /// Takes the first n out.
  void pop(size_t n);
  /// The first one under the key; null: none.
  const Item* find(const EntryKey& key) const;

  bool empty() const { return items_.empty(); }
  const std::deque<Item>& items() const { return items_; }
  size_t bytes() const { return bytes_; }

 private:
  size_t size_;
  std::unique_ptr<std::byte[]> ring_;
  std::deque<Item> items_;
  size_t end_ = 0;    // of the newest value
  size_t bytes_ = 0;  // of all
};

}  // namespace varve
