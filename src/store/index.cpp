#include "store/index.h"

#include <algorithm>
#include <chrono>
#include <queue>
#include <tuple>

namespace varve {

std::pair<EntryKey, ValueRecord> described(std::span<const std::byte> value) {
  constexpr uint32_t kTokens = 128;  // what a point saves is not in its value
  const auto parsed = parse_value(value, Checksum::none_yet);
  return {{parsed->kind, parsed->key},
          {.kind = parsed->kind,
           .n_ids = static_cast<uint32_t>(parsed->ids.size() / sizeof(int32_t)),
           .n_tokens = kTokens,
           .value_bytes = value.size(),
           .fingerprint = parsed->fingerprint,
           .parent = parsed->parent}};
}

uint16_t StoreIndex::model(const Digest& fingerprint) {
  const auto found = std::find(models_.begin(), models_.end(), fingerprint);
  if (found != models_.end()) return static_cast<uint16_t>(found - models_.begin());
  // Past the last number all share one: no store holds so many models.
  if (models_.size() == UINT16_MAX) return UINT16_MAX - 1;
  models_.push_back(fingerprint);
  counts_.push_back(0);
  return static_cast<uint16_t>(models_.size() - 1);
}

double StoreIndex::worth(const Entry& entry) {
  return entry.age + (1.0 + entry.reuse) * entry.n_tokens /
                         static_cast<double>(std::max<uint64_t>(entry.value_bytes, 1));
}

bool StoreIndex::is_leaf(const Entry& entry) {
  return entry.state == State::stored && entry.child_ == nullptr;
}

StoreIndex::Entry& StoreIndex::at(const EntryKey& key) {
  const auto [place, is_new] = entries_.try_emplace(key);
  if (is_new) place->second.key_ = &place->first;
  return place->second;
}

StoreIndex::Entry* StoreIndex::find(const EntryKey& key) {
  const auto found = entries_.find(key);
  return found == entries_.end() || found->second.state == State::absent ? nullptr : &found->second;
}

const StoreIndex::Entry* StoreIndex::find(const EntryKey& key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() || found->second.state == State::absent ? nullptr : &found->second;
}

void StoreIndex::count(const Entry& entry, bool in) {
  uint64_t& of_kind = entry.key().kind == StoredKind::block ? totals_.blocks : totals_.points;
  if (entry.version == kStoreVersion) counts_[entry.model] += in ? 1 : UINT64_MAX;
  if (in) {
    ++of_kind;
    totals_.bytes += entry.value_bytes;
  } else {
    --of_kind;
    totals_.bytes -= entry.value_bytes;
  }
}

void StoreIndex::link(Entry& entry, const Digest& parent) {
  Entry& above = at({StoredKind::block, parent});
  if (&above == &entry) return;  // no chain of ours does that
  entry.parent_ = &above;
  entry.previous_ = nullptr;
  entry.next_ = above.child_;
  if (above.child_ != nullptr) above.child_->previous_ = &entry;
  above.child_ = &entry;
}

void StoreIndex::unlink(Entry& entry) {
  Entry* const above = entry.parent_;
  if (above == nullptr) return;
  if (entry.next_ != nullptr) entry.next_->previous_ = entry.previous_;
  if (entry.previous_ != nullptr) {
    entry.previous_->next_ = entry.next_;
  } else {
    above->child_ = entry.next_;
  }
  entry.parent_ = entry.next_ = entry.previous_ = nullptr;
  forget_if_unneeded(*above);
}

void StoreIndex::forget_if_unneeded(Entry& entry) {
  if (entry.state != State::absent || entry.child_ != nullptr) return;
  const EntryKey key = entry.key();
  entries_.erase(key);
}

StoreIndex::Entry& StoreIndex::add(const EntryKey& key, const ValueRecord& record, State state) {
  if (Entry* const before = find(key)) remove(*before);
  Entry& entry = at(key);
  entry.state = state;
  entry.changed = false;
  entry.version = record.version;
  entry.model = model(record.fingerprint);
  entry.n_ids = record.n_ids;
  entry.n_tokens = record.n_tokens;
  entry.reuse = record.reuse;
  entry.value_bytes = record.value_bytes;
  entry.last_use_us = record.last_use_us;
  entry.age = record.age;
  clock_ = std::max(clock_, record.age);
  last_us_ = std::max(last_us_, record.last_use_us);
  count(entry, true);
  link(entry, record.parent);
  return entry;
}

void StoreIndex::remove(Entry& entry) {
  count(entry, false);
  entry.state = State::absent;
  unlink(entry);
  forget_if_unneeded(entry);
}

// Never the same twice, so that uses have an order.
uint64_t StoreIndex::now_us() {
  const auto now = std::chrono::duration_cast<std::chrono::microseconds>(
      std::chrono::system_clock::now().time_since_epoch());
  last_us_ = std::max(last_us_ + 1, static_cast<uint64_t>(now.count()));
  return last_us_;
}

void StoreIndex::stamp(ValueRecord& record) {
  record.last_use_us = now_us();
  record.age = clock_;
}

void StoreIndex::touch(Entry& entry) {
  entry.last_use_us = now_us();
  if (entry.reuse < UINT32_MAX) ++entry.reuse;
  entry.age = clock_;
  entry.changed = true;
}

ValueRecord StoreIndex::record(const Entry& entry) const {
  ValueRecord record{.version = entry.version,
                     .kind = entry.key().kind,
                     .n_ids = entry.n_ids,
                     .n_tokens = entry.n_tokens,
                     .value_bytes = entry.value_bytes,
                     .reuse = entry.reuse,
                     .last_use_us = entry.last_use_us,
                     .age = entry.age,
                     .fingerprint = models_[entry.model],
                     .parent = entry.key().digest};
  if (entry.parent_ != nullptr) record.parent = entry.parent_->key().digest;
  return record;
}

std::vector<StoreIndex::Victim> StoreIndex::evict(uint64_t bytes, uint64_t count) {
  using Ranked = std::tuple<double, uint64_t, Entry*>;
  const auto rank = [](Entry& entry) { return Ranked{worth(entry), entry.last_use_us, &entry}; };
  std::vector<Ranked> leaves;
  for (auto& [key, entry] : entries_) {
    if (is_leaf(entry)) leaves.push_back(rank(entry));
  }
  std::priority_queue<Ranked, std::vector<Ranked>, std::greater<>> next(std::greater<>{},
                                                                        std::move(leaves));
  std::vector<Victim> victims;
  uint64_t freed = 0;
  while ((freed < bytes || victims.size() < count) && !next.empty()) {
    Entry& entry = *std::get<Entry*>(next.top());
    next.pop();
    clock_ = std::max(clock_, worth(entry));
    victims.push_back({entry.key(), entry.value_bytes});
    freed += entry.value_bytes;
    Entry* const above = entry.parent_;
    const bool frees_parent = above != nullptr && above->state == State::stored;
    remove(entry);
    if (frees_parent && is_leaf(*above)) next.push(rank(*above));
  }
  return victims;
}

std::vector<StoreIndex::Victim> StoreIndex::remove_tree(Entry& root) {
  // Marks keep a chain that bites its tail, which is nothing of ours, from going on for ever.
  std::vector<Entry*> tree = {&root};
  root.marked_ = true;
  for (size_t i = 0; i < tree.size(); ++i) {
    for (Entry* below = tree[i]->child_; below != nullptr; below = below->next_) {
      if (below->marked_) continue;
      below->marked_ = true;
      tree.push_back(below);
    }
  }
  std::vector<Victim> victims;
  std::vector<EntryKey> keys;
  for (Entry* const entry : tree) {
    entry->marked_ = false;
    if (entry->state == State::stored) keys.push_back(entry->key());
  }
  for (const EntryKey& key : keys) {
    Entry* const entry = find(key);
    victims.push_back({key, entry->value_bytes});
    remove(*entry);
  }
  return victims;
}

void StoreIndex::for_each(const std::function<void(const Entry&)>& visit) const {
  for (const auto& [key, entry] : entries_) {
    if (entry.state != State::absent) visit(entry);
  }
}

void StoreIndex::for_each_child(const Digest& parent,
                                const std::function<void(const Entry&)>& visit) const {
  const auto found = entries_.find({StoredKind::block, parent});
  if (found == entries_.end()) return;
  for (const Entry* below = found->second.child_; below != nullptr; below = below->next_) {
    visit(*below);
  }
}

void StoreIndex::clear() {
  entries_.clear();
  std::fill(counts_.begin(), counts_.end(), 0);
  totals_ = {};
}

}  // namespace varve
