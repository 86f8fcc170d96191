// Which blocks are known, and by what: from a key to the block, from the least recently used one to
// the newest. A key finds, the token ids decide: two beginnings are taken for one only where every
// id is the same.
//
// Nothing here allocates after lay_out.
#pragma once

#include <cstdint>
#include <span>

#include "base/arena.h"
#include "kvcache/block_key.h"
#include "kvcache/shape.h"

namespace varve {

class PrefixIndex {
 public:
  static constexpr int kNone = -1;

  /// Takes all memory from `arena`; a dry builder only counts. `n_blocks`: ids are below it.
  void lay_out(ArenaBuilder& arena, int n_blocks);

  /// The block of these tokens behind this parent; kNone where there is none.
  int find(const BlockKey& key, const BlockKey& parent, std::span<const int32_t> ids) const;
  /// Of the blocks behind `parent`, the one whose ids begin most like these, and how many are the
  /// same; kNone where no first one is. Looks at all blocks.
  struct Start {
    int block = kNone;
    int n_ids = 0;
  };
  Start longest_start(const BlockKey& parent, std::span<const int32_t> ids) const;

  /// Makes a block known, as the newest one: it was not, and no other is known by the key. ids:
  /// kBlockTokens.
  void insert(int block, const BlockKey& key, const BlockKey& parent, std::span<const int32_t> ids);
  void erase(int block);
  /// Makes a known block the newest one.
  void touch(int block);

  bool has(int block) const { return newer_[block] != kUnknown; }
  const BlockKey& key(int block) const { return keys_[block]; }
  const BlockKey& parent(int block) const { return parents_[block]; }
  std::span<const int32_t> ids(int block) const {
    return {ids_ + static_cast<size_t>(block) * kBlockTokens, kBlockTokens};
  }
  /// The least recently used one, and the next after `block`; kNone at the end.
  int oldest() const { return oldest_; }
  int newer(int block) const { return newer_[block]; }
  int n_known() const { return n_known_; }

 private:
  static constexpr int32_t kUnknown = -2;

  int32_t& bucket(const BlockKey& key) const;
  void append(int block);
  void unlink(int block);

  int n_buckets_ = 0;  // a power of two
  int n_known_ = 0;
  int oldest_ = kNone;
  int newest_ = kNone;
  // By block.
  BlockKey* keys_ = nullptr;
  BlockKey* parents_ = nullptr;
  int32_t* ids_ = nullptr;   // [n_blocks, kBlockTokens]
  int32_t* next_ = nullptr;  // of the same bucket
  int32_t* older_ = nullptr;
  int32_t* newer_ = nullptr;    // kUnknown: not known
  int32_t* buckets_ = nullptr;  // [n_buckets], the first block
};

}  // namespace varve
