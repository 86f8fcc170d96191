// What the cache knows of tokens that no sequence may have any more: blocks and resume points,
// found by the tokens that they stand for.
#include <algorithm>
#include <cassert>
#include <cstring>

#include "kvcache/cache.h"

namespace varve {

// The least recently used of the known points that are accepted; -1: none is.
template <class Accept>
int Cache::oldest_point(const Accept& accept) const {
  const KnownPoint* oldest = nullptr;
  for (const KnownPoint& point : known_points_) {
    if (!point.is_known || !accept(point)) continue;
    if (oldest == nullptr || point.used < oldest->used) oldest = &point;
  }
  return oldest == nullptr ? -1 : static_cast<int>(oldest - known_points_.data());
}

// ---- blocks

// Block b of the sequence is complete. Where the same block is known already the sequence goes on
// with that one: equal tokens have equal rows.
void Cache::seal(Slot& slot, int b) {
  if ((b + 1) * kBlockTokens <= slot.restored_tokens || slot.is_private) return;
  const std::span<const int32_t> ids(slot.ids + b * kBlockTokens, kBlockTokens);
  const BlockKey& parent = parent_key(slot, b);
  slot.keys[b] = child_key(hash_, parent, ids);
  int32_t& own = slot.table[b];
  const int known = index_.find(slot.keys[b], parent, ids);
  if (known == PrefixIndex::kNone) {
    index_.insert(own, slot.keys[b], parent, ids);
    ++block_refs_[static_cast<size_t>(own)];
  } else if (known != own) {
    ++block_refs_[static_cast<size_t>(known)];
    drop_block(own);
    own = known;
  }
}

// The first one last: what goes first is the end of a sequence, never what later blocks follow on.
void Cache::touch_blocks(const Slot& slot) {
  for (int b = slot.n_blocks - 1; b >= 0; --b) {
    if (index_.has(slot.table[b])) index_.touch(slot.table[b]);
  }
}

// Whether there is a free block, or one that can be let go.
bool Cache::make_room_for_block() {
  while (free_blocks_.empty()) {
    int block = index_.oldest();
    while (block != PrefixIndex::kNone && block_refs_[static_cast<size_t>(block)] > 1) {
      block = index_.newer(block);
    }
    if (block != PrefixIndex::kNone) {
      index_.erase(block);
      drop_block(block);
      continue;
    }
    // What no sequence has is held by points.
    const int oldest = oldest_point([](const KnownPoint& point) { return point.block >= 0; });
    if (oldest < 0) return false;
    forget_point(oldest);
  }
  return true;
}

// Nobody knows it any more.
void Cache::forget_block(int id) {
  for (int d = 0; d < n_details_; ++d) {
    if (known_points_[static_cast<size_t>(d)].block == id) forget_point(d);
  }
  if (!index_.has(id)) return;
  index_.erase(id);
  drop_block(id);
}

int Cache::known_tokens(std::span<const int32_t> ids, BlockKey* last) {
  BlockKey parent = options_.root;
  int n = 0;
  for (; n + kBlockTokens <= static_cast<int>(ids.size()); n += kBlockTokens) {
    const auto own = ids.subspan(static_cast<size_t>(n), kBlockTokens);
    const BlockKey key = child_key(hash_, parent, own);
    if (index_.find(key, parent, own) == PrefixIndex::kNone) break;
    parent = key;
  }
  if (last != nullptr) *last = parent;
  return n;
}

bool Cache::restore_block(const BlockKey& parent, std::span<const int32_t> ids,
                          const FillBlock& fill) {
  const BlockKey key = child_key(hash_, parent, ids);
  if (index_.find(key, parent, ids) != PrefixIndex::kNone) return true;
  const int id = take_block();
  if (!fill({block(id), layout_.block_bytes})) {
    drop_block(id);
    return false;
  }
  index_.insert(id, key, parent, ids);
  return true;
}

// ---- resume points

std::span<const int32_t> Cache::tail(int detail) const {
  return {tails_ + static_cast<size_t>(detail) * kBlockTokens,
          static_cast<size_t>(known_points_[static_cast<size_t>(detail)].n_tail)};
}

int Cache::known_points() const {
  return static_cast<int>(
      std::ranges::count_if(known_points_, [](const KnownPoint& point) { return point.is_known; }));
}

int Cache::find_point(const BlockKey& parent, std::span<const int32_t> wanted) const {
  for (int d = 0; d < n_details_; ++d) {
    const KnownPoint& point = known_points_[static_cast<size_t>(d)];
    if (point.is_known && point.parent == parent && std::ranges::equal(tail(d), wanted)) return d;
  }
  return -1;
}

void Cache::know_point(int detail, const BlockKey& parent, std::span<const int32_t> tail,
                       int block) {
  KnownPoint& point = known_points_[static_cast<size_t>(detail)];
  point = {true, parent, static_cast<int>(tail.size()), tail.empty() ? -1 : block, ++clock_};
  std::ranges::copy(tail, tails_ + static_cast<size_t>(detail) * kBlockTokens);
  if (point.block >= 0) ++block_refs_[static_cast<size_t>(point.block)];
}

// Of the sequence as it is, whose details are in `detail`.
void Cache::know_point(const Slot& slot, int detail) {
  if (slot.is_private || slot.n_tokens == 0 || slot.n_tokens < slot.restored_tokens) return;
  const int b = slot.n_tokens / kBlockTokens;
  const std::span<const int32_t> tail(slot.ids + b * kBlockTokens, slot.ids + slot.n_tokens);
  if (const int known = find_point(parent_key(slot, b), tail); known >= 0) {
    known_points_[static_cast<size_t>(known)].used = ++clock_;
    return;
  }
  know_point(detail, parent_key(slot, b), tail, tail.empty() ? -1 : slot.table[b]);
  ++detail_refs_[static_cast<size_t>(detail)];
}

void Cache::forget_point(int detail) {
  KnownPoint& point = known_points_[static_cast<size_t>(detail)];
  if (point.block >= 0) drop_block(point.block);
  point = {};
  drop_detail(detail);
}

void Cache::evict_point() {
  const int oldest = oldest_point([&](const KnownPoint& point) {
    return detail_refs_[static_cast<size_t>(&point - known_points_.data())] == 1;
  });
  assert(oldest >= 0);
  forget_point(oldest);
}

bool Cache::restore_point(const BlockKey& parent, std::span<const int32_t> tail,
                          const FillPoint& fill) {
  if (find_point(parent, tail) >= 0) return true;
  const int detail_id = take_detail();
  const int block_id = tail.empty() ? -1 : take_block();
  const std::span<std::byte> open_block =
      tail.empty() ? std::span<std::byte>() : std::span(block(block_id), layout_.block_bytes);
  const bool filled = fill({detail(detail_id), layout_.detail_bytes}, open_block);
  if (filled) know_point(detail_id, parent, tail, block_id);
  if (block_id >= 0) drop_block(block_id);  // the point holds it, or nobody does
  if (!filled) drop_detail(detail_id);
  return filled;
}

// ---- going on from what is known

Result<Sequence> Cache::new_sequence(std::span<const int32_t> ids) {
  if (ids.size() > static_cast<size_t>(options_.ctx_tokens)) {
    return usage_error("the context holds {} tokens; {} are asked for", options_.ctx_tokens,
                       ids.size());
  }
  VARVE_TRY(Sequence sequence, new_sequence());
  Slot& slot = slots_[static_cast<size_t>(sequence.slot_)];
  std::ranges::copy(ids, slot.ids);
  const int n_ids = static_cast<int>(ids.size());
  for (int b = 0; (b + 1) * kBlockTokens <= n_ids; ++b) {
    const std::span<const int32_t> own(slot.ids + b * kBlockTokens, kBlockTokens);
    const BlockKey& parent = parent_key(slot, b);
    slot.keys[b] = child_key(hash_, parent, own);
    const int known = index_.find(slot.keys[b], parent, own);
    if (known == PrefixIndex::kNone) break;
    slot.table[slot.n_blocks++] = known;
    ++block_refs_[static_cast<size_t>(known)];
  }
  slot.restored_tokens = slot.n_blocks * kBlockTokens;
  resume(slot, n_ids);
  return sequence;
}

// The known point that is furthest on in the sequence's ids, behind blocks that it has; -1: none.
int Cache::nearest_point(const Slot& slot, int n_ids, int& pos) const {
  int best = -1;
  pos = 0;
  for (int d = 0; d < n_details_; ++d) {
    const KnownPoint& point = known_points_[static_cast<size_t>(d)];
    if (!point.is_known) continue;
    for (int b = 0; b <= slot.n_blocks; ++b) {
      const int at = b * kBlockTokens + point.n_tail;
      if (at <= pos || at > n_ids || parent_key(slot, b) != point.parent) continue;
      const std::span<const int32_t> own(slot.ids + b * kBlockTokens, slot.ids + at);
      if (!std::ranges::equal(own, tail(d))) continue;
      best = d;
      pos = at;
    }
  }
  return best;
}

// Where to go on: the point that is furthest on, or the beginning of a replay behind the blocks.
void Cache::resume(Slot& slot, int n_ids) {
  int pos = 0;
  const int point = nearest_point(slot, n_ids, pos);
  if (!layout_.keeps_detail() && pos < n_ids && resume_at_token(slot, n_ids)) return;
  const int replay = replay_start(slot.restored_tokens);
  if (replay > pos) {
    begin_replay(slot, replay, slot.restored_tokens);
  } else if (point >= 0) {
    resume_from_point(slot, point, pos);
  }
}

void Cache::resume_from_point(Slot& slot, int detail_id, int pos) {
  KnownPoint& point = known_points_[static_cast<size_t>(detail_id)];
  point.used = ++clock_;
  std::memcpy(detail(slot.detail), detail(detail_id), layout_.detail_bytes);
  slot.n_tokens = pos;
  if (pos > slot.restored_tokens) slot.table[slot.n_blocks++] = own_copy(point.block);
  if (options_.resume_points == 0) return;
  slot.points.push_back({pos, detail_id});
  ++detail_refs_[static_cast<size_t>(detail_id)];
}

// Where all that a token needs of those before it is in blocks: right behind the known tokens, some
// of which may be the beginning of another block. The last token is read again for its hidden
// state.
bool Cache::resume_at_token(Slot& slot, int n_ids) {
  const int restored = slot.restored_tokens;
  const BlockKey& parent = parent_key(slot, slot.n_blocks);
  const std::span<const int32_t> rest(slot.ids + restored, slot.ids + n_ids);
  PrefixIndex::Start start = index_.longest_start(parent, rest);
  for (int d = 0; d < n_details_; ++d) {
    const KnownPoint& point = known_points_[static_cast<size_t>(d)];
    if (!point.is_known || point.block < 0 || point.parent != parent) continue;
    const std::span<const int32_t> known = tail(d);
    const auto end = std::mismatch(known.begin(), known.end(), rest.begin(), rest.end()).first;
    const int n = static_cast<int>(end - known.begin());
    if (n > start.n_ids) start = {point.block, n};
  }
  const int known = restored + start.n_ids;
  if (known == 0) return false;
  slot.n_tokens = std::min(known, n_ids - 1);
  if (slot.n_tokens > restored) slot.table[slot.n_blocks++] = own_copy(start.block);
  return true;
}

// A beginning so far back that reading on from there makes all details right at n_tokens, whose
// blocks are there; 0 where there is none.
int Cache::replay_start(int n_tokens) const {
  const std::optional<int> n = layout_.replay_tokens();
  return n && layout_.keeps_detail() ? std::max(0, n_tokens - *n) : 0;
}

// Details before `from` are not there: they read as zeros, so that all values stay finite.
void Cache::begin_replay(Slot& slot, int from, int restored_tokens) {
  std::memset(detail(slot.detail), 0, layout_.detail_bytes);
  slot.n_tokens = from;
  slot.restored_tokens = restored_tokens;
}

}  // namespace varve
