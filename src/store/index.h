// What the store holds, in memory: the tree of values, what each is worth, and which go first.
//
// A value's parent is the block before it. A value is only ever chosen for eviction when nothing
// that is stored hangs below it, so a chain loses its end first and never its middle.
//
// Worth = age + (1 + reuse) x tokens / bytes. The age is the index's clock at the value's last use;
// the clock stands at the worth of the last value that was evicted, so what was worth a lot long
// ago gives way to what is used now.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "store/value.h"

namespace varve {

struct EntryKey {
  StoredKind kind = StoredKind::block;
  Digest digest = {};

  bool operator==(const EntryKey&) const = default;
};

struct EntryKeyHash {
  size_t operator()(const EntryKey& key) const {
    size_t word;  // a digest is as good as random
    std::memcpy(&word, key.digest.data(), sizeof(word));
    return word ^ static_cast<size_t>(key.kind);
  }
};

/// Where a whole value belongs, and its record as if it was put now and never used.
std::pair<EntryKey, ValueRecord> described(std::span<const std::byte> value);

class StoreIndex {
 public:
  enum class State : uint8_t {
    absent,  // only there because children name it
    queued,  // will be written
    stored,
  };

  class Entry {
   public:
    const EntryKey& key() const { return *key_; }
    State state = State::absent;
    bool changed = false;  // the record on disk is older
    uint16_t version = 0;
    uint16_t model = 0;  // see model()
    uint32_t n_ids = 0;
    uint32_t n_tokens = 0;
    uint32_t reuse = 0;
    uint64_t value_bytes = 0;
    uint64_t last_use_us = 0;
    double age = 0;

   private:
    friend class StoreIndex;
    const EntryKey* key_ = nullptr;
    Entry* parent_ = nullptr;  // null: it has none, or is absent itself
    Entry* child_ = nullptr;   // the first one
    Entry* next_ = nullptr;    // siblings
    Entry* previous_ = nullptr;
    bool marked_ = false;
  };

  /// Memory that an entry takes here at most, on average.
  static constexpr size_t kEntryBytes = 224;

  struct Totals {
    uint64_t blocks = 0;
    uint64_t points = 0;
    uint64_t bytes = 0;  // of values

    uint64_t count() const { return blocks + points; }
  };

  /// A small number for a fingerprint: the same one each time.
  uint16_t model(const Digest& fingerprint);
  const Digest& fingerprint(uint16_t model) const { return models_[model]; }
  const std::vector<Digest>& models() const { return models_; }

  /// Null: neither queued nor stored.
  Entry* find(const EntryKey& key);
  const Entry* find(const EntryKey& key) const;
  /// Puts it there, in the place of what was under the key. Not `absent`.
  Entry& add(const EntryKey& key, const ValueRecord& record, State state);
  void remove(Entry& entry);
  /// It was read, or put again.
  void touch(Entry& entry);
  /// The times of a value that is put now.
  void stamp(ValueRecord& record);
  ValueRecord record(const Entry& entry) const;

  /// Removes stored leaves, the least worth first, until `bytes` of values and `count` entries are
  /// gone or nothing can go.
  struct Victim {
    EntryKey key;
    uint64_t value_bytes = 0;
  };
  std::vector<Victim> evict(uint64_t bytes, uint64_t count);
  /// Removes the entry with all that hangs below it and is not queued.
  std::vector<Victim> remove_tree(Entry& root);

  /// Of queued and stored ones.
  const Totals& totals() const { return totals_; }
  /// Of those, values of this version and of a model.
  uint64_t count_of(uint16_t model) const { return counts_[model]; }
  void for_each(const std::function<void(const Entry&)>& visit) const;
  /// The points and blocks that follow a block.
  void for_each_child(const Digest& parent, const std::function<void(const Entry&)>& visit) const;
  void clear();

  static double worth(const Entry& entry);

 private:
  void link(Entry& entry, const Digest& parent);
  void unlink(Entry& entry);
  void forget_if_unneeded(Entry& entry);
  void count(const Entry& entry, bool in);
  uint64_t now_us();
  static bool is_leaf(const Entry& entry);
  Entry& at(const EntryKey& key);

  std::unordered_map<EntryKey, Entry, EntryKeyHash> entries_;
  std::vector<Digest> models_;
  std::vector<uint64_t> counts_;  // by model, of this version
  Totals totals_;
  double clock_ = 0;
  uint64_t last_us_ = 0;
};

}  // namespace varve
