#include "kvcache/prefix_index.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>

namespace varve {

void PrefixIndex::lay_out(ArenaBuilder& arena, int n_blocks) {
  const auto n = static_cast<size_t>(n_blocks);
  n_buckets_ = static_cast<int>(std::bit_ceil(std::max<size_t>(n, 1)));
  keys_ = arena.take<BlockKey>("cache tables", n);
  parents_ = arena.take<BlockKey>("cache tables", n);
  ids_ = arena.take<int32_t>("cache tables", n * kBlockTokens);
  next_ = arena.take<int32_t>("cache tables", n);
  older_ = arena.take<int32_t>("cache tables", n);
  newer_ = arena.take<int32_t>("cache tables", n);
  buckets_ = arena.take<int32_t>("cache tables", static_cast<size_t>(n_buckets_));
  if (arena.dry()) return;
  std::fill_n(newer_, n, kUnknown);
  std::fill_n(buckets_, n_buckets_, kNone);
}

int32_t& PrefixIndex::bucket(const BlockKey& key) const {
  uint32_t hash = 0;
  std::memcpy(&hash, key.data(), sizeof hash);
  return buckets_[hash & static_cast<uint32_t>(n_buckets_ - 1)];
}

int PrefixIndex::find(const BlockKey& key, const BlockKey& parent,
                      std::span<const int32_t> ids) const {
  for (int block = bucket(key); block != kNone; block = next_[block]) {
    if (keys_[block] == key && parents_[block] == parent &&
        std::ranges::equal(this->ids(block), ids)) {
      return block;
    }
  }
  return kNone;
}

PrefixIndex::Start PrefixIndex::longest_start(const BlockKey& parent,
                                              std::span<const int32_t> ids) const {
  Start best;
  for (int block = oldest_; block != kNone; block = newer_[block]) {
    if (parents_[block] != parent) continue;
    const std::span<const int32_t> known = this->ids(block);
    const auto end = std::mismatch(known.begin(), known.end(), ids.begin(), ids.end()).first;
    const int n = static_cast<int>(end - known.begin());
    if (n > best.n_ids) best = {block, n};
  }
  return best;
}

void PrefixIndex::insert(int block, const BlockKey& key, const BlockKey& parent,
                         std::span<const int32_t> ids) {
  assert(!has(block) && ids.size() == kBlockTokens);
  keys_[block] = key;
  parents_[block] = parent;
  std::ranges::copy(ids, ids_ + static_cast<size_t>(block) * kBlockTokens);
  int32_t& first = bucket(key);
  next_[block] = first;
  first = block;
  ++n_known_;
  append(block);
}

void PrefixIndex::erase(int block) {
  int32_t* at = &bucket(keys_[block]);
  while (*at != block) at = &next_[*at];
  *at = next_[block];
  unlink(block);
  newer_[block] = kUnknown;
  --n_known_;
}

void PrefixIndex::touch(int block) {
  unlink(block);
  append(block);
}

void PrefixIndex::append(int block) {
  older_[block] = newest_;
  newer_[block] = kNone;
  (newest_ == kNone ? oldest_ : newer_[newest_]) = block;
  newest_ = block;
}

void PrefixIndex::unlink(int block) {
  const int older = older_[block], newer = newer_[block];
  (older == kNone ? oldest_ : newer_[older]) = newer;
  (newer == kNone ? newest_ : older_[newer]) = older;
}

}  // namespace varve
