#include "engine/persistence.h"

#include <algorithm>
#include <vector>

namespace varve {

void Persistence::put_blocks(const Sequence& sequence, int before) {
  const int n_sealed = sequence.n_tokens() / kBlockTokens;
  const int n_restored = sequence.restored_tokens() / kBlockTokens;
  int first = std::max(before / kBlockTokens, n_restored);
  if (sequence.is_private() || first >= n_sealed) return;
  // A block is of use behind those before it alone: what was dropped of them is put once more.
  while (first > 0 && !store_.has_block(sequence.key(first - 1))) --first;
  for (int b = first; b < n_sealed; ++b) {
    const int begin = b * kBlockTokens;
    store_.put(StoredBlock{.key = sequence.key(b),
                           .parent = sequence.parent_key(begin),
                           .ids = sequence.ids().subspan(static_cast<size_t>(begin), kBlockTokens),
                           .rows = sequence.block_rows(b)});
  }
}

void Persistence::put_point(const Sequence& sequence) {
  const int n = sequence.n_tokens(), b = n / kBlockTokens;
  if (sequence.is_private() || n == 0 || n < sequence.restored_tokens()) return;
  const auto tail = sequence.ids().subspan(static_cast<size_t>(b) * kBlockTokens);
  const BlockKey& parent = sequence.parent_key(n);
  const std::vector<ByteRange> ranges = cache_.layout().detail_ranges(n);
  store_.put(StoredPoint{
      .key = child_key(hash_, parent, tail),
      .parent = parent,
      .tail_ids = tail,
      .detail = sequence.detail_rows(),
      .open_block = tail.empty() ? std::span<const std::byte>() : sequence.block_rows(b),
      .ranges = ranges});
}

int Persistence::restore(std::span<const int32_t> ids) {
  BlockKey parent = cache_.options().root;
  std::vector<BlockKey> chain = {parent};
  int n_read = 0;
  while (chain.size() * kBlockTokens <= ids.size()) {
    const auto own = ids.subspan((chain.size() - 1) * kBlockTokens, kBlockTokens);
    const BlockKey key = child_key(hash_, parent, own);
    bool is_read = false;
    const bool known = cache_.restore_block(parent, own, [&](std::span<std::byte> rows) {
      is_read = store_.has_block(key) && store_.get_block(key, parent, own, rows);
      return is_read;
    });
    if (!known) break;
    if (is_read) n_read += kBlockTokens;
    parent = key;
    chain.push_back(parent);
  }
  restore_point(ids, chain);
  return n_read;
}

// `chain`: of the blocks that are known, the root first.
void Persistence::restore_point(std::span<const int32_t> ids, std::span<const BlockKey> chain) {
  for (size_t b = chain.size(); b-- > 0;) {
    const auto behind = ids.subspan(b * kBlockTokens);
    Digest best_key = {};
    int best = -1;
    store_.for_each_point(chain[b], [&](const Digest& key, int n_tail) {
      if (n_tail <= best || static_cast<size_t>(n_tail) > behind.size()) return;
      if (child_key(hash_, chain[b], behind.first(static_cast<size_t>(n_tail))) != key) return;
      best_key = key;
      best = n_tail;
    });
    if (best < 0) continue;
    const auto tail = behind.first(static_cast<size_t>(best));
    const std::vector<ByteRange> ranges =
        cache_.layout().detail_ranges(static_cast<int>(b) * kBlockTokens + best);
    cache_.restore_point(
        chain[b], tail, [&](std::span<std::byte> detail, std::span<std::byte> open_block) {
          return store_.get_point(best_key, chain[b], tail, detail, open_block, ranges);
        });
    return;
  }
}

}  // namespace varve
