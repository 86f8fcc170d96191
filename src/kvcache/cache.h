// The cache: a pool of blocks and detail slots that sequences share.
//
// A sequence is a table of block references, one open block at its end, and one live detail slot.
// A sealed block never changes and may be referenced by any number of sequences, so a fork copies
// references; the open block and the live detail slot belong to one sequence, and a fork copies
// them. A resume point is a frozen copy of the detail slot at some position: rewinding goes to the
// nearest one at or below the target, the engine computes the rest again.
//
// Sealed blocks and resume points are *known* by the tokens that they stand for, also when no
// sequence has them any more: a new sequence that begins with the same tokens takes them over. What
// only the index holds goes when sequences need the room, the least recently used first.
//
// Where the tokens' blocks are there and no resume point is, the details can be had again all the
// same: a layer's newest rows follow from those of the layer below, so reading the last
// replay_tokens() tokens again makes the newest rows of every layer right, if what the blocks hold
// stays as it is meanwhile. Blocks up to restored_tokens() are such: nothing is stored there.
//
// One thread uses a Cache and its sequences. Nothing here allocates after lay_out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/arena.h"
#include "base/result.h"
#include "kvcache/block_key.h"
#include "kvcache/layout.h"
#include "kvcache/prefix_index.h"

namespace varve {

struct CacheOptions {
  PoolFormats formats = {};
  int ctx_tokens = 0;     // of each sequence, at most
  int n_sequences = 1;    // alive at once
  int resume_points = 4;  // kept per sequence at most; position 0 needs none
  // Room for what ended sequences leave, beside what those that are alive need at most.
  int kept_blocks = 0;
  int kept_points = 0;
  BlockKey root = {};  // stands for the model and the formats of rows
};

/// Bytes of a whole cache by what they hold; its tables, ids and padding come on top.
struct CacheBytes {
  PoolBytes pools;
  size_t state = 0;  // compressor inputs, hidden states

  size_t sum() const { return pools.sum() + state; }
};

class Cache;

/// Keys [n_kv_heads, kBlockTokens] and values of one layer in one block; a head's are a run of 128
/// rows (tensor/kv_tile.h), rows of k_bytes and v_bytes of the layer's layout.
struct KvBlock {
  std::byte* keys;
  std::byte* values;
};

/// A handle to one sequence; destroying it gives its memory back to the pool.
class Sequence {
 public:
  Sequence() = default;
  Sequence(Sequence&& other) noexcept;
  Sequence& operator=(Sequence&& other) noexcept;
  ~Sequence();

  /// Tokens whose rows are in the cache.
  int n_tokens() const;
  std::span<const int32_t> ids() const;
  /// Where the ids of the tokens from n_tokens() on will be: a place for those that wait. After a
  /// rewind the ids that were forgotten still stand here.
  std::span<int32_t> next_ids() const;

  /// Tokens whose blocks were there before they were read: at most n_tokens() once the sequence is
  /// up to date. Fewer tokens than these have been read while the newest rows are made anew.
  int restored_tokens() const;
  /// Whether a layer's entry is that of such a block: it must not be stored again.
  bool is_restored(int layer, int w) const;

  /// Makes room for tokens up to position n_tokens (exclusive). Error (usage): beyond the context.
  Result<void> reserve(int n_tokens);
  /// The rows of `ids`, which follow the present end, have been written.
  void commit(std::span<const int32_t> ids);

  /// Row w of a layer's compressed entries / index keys: room is there for every w < n / ratio
  /// where n tokens are reserved; values are there for every w < n_tokens() / ratio.
  std::byte* entry(int layer, int w) const;
  std::byte* index_key(int layer, int w) const;
  /// Keys and values of the block of 128 tokens that begins at 128 * block: room as for entries;
  /// with a window, values of the tokens that are in it.
  KvBlock kv_block(int layer, int block) const;
  /// Beside quantised keys or values, the same as bf16: of the newest tokens, in the block of 128
  /// that begins at 128 * block; and of the first ones, [n_kv_heads, sink_tokens]. Null for a pool
  /// that is not quantised.
  KvBlock recent_block(int layer, int block) const;
  KvBlock sinks(int layer) const;
  /// Stores key and value [head_dim] of one head of token `pos` wherever they are kept. Tokens of
  /// one tile (kKvTileRows) share bytes: they are not to be stored by two threads at once. What a
  /// restored block holds stays.
  void store_kv(int layer, int pos, int head, const float* key, const float* value) const;
  /// Stores entry w of a layer [head_dim]; of a latent its bf16 row too, where that is kept.
  void store_entry(int layer, int w, const float* values) const;
  /// Beside quantised latents, the row of token `pos` as bf16: valid for the first tokens and for
  /// the newest ones.
  std::byte* exact_latent(int layer, int pos) const;
  /// The window's row of token `pos`: valid for the last `window` tokens.
  std::byte* window_row(int layer, int pos) const;
  /// The compressor's input of token `pos`, state_width() kv values, then as many scores: valid for
  /// tokens whose entry is not closed and, where entries overlap, those of the entry before. The
  /// same for the index's compressor.
  float* state_row(int layer, int pos) const;
  float* index_state_row(int layer, int pos) const;

  /// The newest token's hidden state [hidden_dim], as the forward pass left it.
  float* hidden() const;

  /// A second sequence with the same past. Error (usage): no sequence left in the pool.
  Result<Sequence> fork() const;

  /// Freezes the present position as a resume point. Where all are taken, the one whose loss costs
  /// the least is dropped: points stay dense near the end and thin out towards the beginning.
  void save_resume_point();
  /// Goes back to the nearest resume point at or below `pos`, forgets what lies after it, and says
  /// where that is. 0 <= pos <= n_tokens(). Where nothing is kept but blocks, each token before
  /// `pos` is one: pos - 1, so that reading it again leaves its hidden state.
  int rewind_to_resume_point(int pos);
  std::vector<int> resume_positions() const;

  /// The rows are not those of the ids: nothing of this sequence is known to others.
  void keep_private();

  /// Of sealed block b: what it is known by, and its rows.
  const BlockKey& key(int b) const;
  /// Of the block before that of token `pos`: the root where there is none.
  const BlockKey& parent_key(int pos) const;
  std::span<const std::byte> block_rows(int b) const;
  std::span<const std::byte> detail_rows() const;
  bool is_private() const;

  const CacheLayout& layout() const;

  explicit operator bool() const { return cache_ != nullptr; }

 private:
  friend class Cache;
  Sequence(Cache* cache, int slot) : cache_(cache), slot_(slot) {}
  void release();
  KvBlock exact_rows(size_t k_at, size_t v_at, int layer) const;

  Cache* cache_ = nullptr;
  int slot_ = -1;
};

class Cache {
 public:
  Cache(const CacheShape& shape, const CacheOptions& options);
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  /// Takes all memory of the cache from `arena`; a dry builder only counts.
  void lay_out(ArenaBuilder& arena);

  /// An empty sequence. Error (usage): all n_sequences are alive.
  Result<Sequence> new_sequence();
  bool has_free_sequence() const;
  /// A sequence for these tokens, as far on as the cache knows them: those from n_tokens() on stand
  /// in next_ids() and are to be read. All are there only where the newest one's hidden state is.
  /// Errors (usage): as above; more tokens than a context holds.
  Result<Sequence> new_sequence(std::span<const int32_t> ids);

  /// Tokens of the beginning of `ids` whose blocks are known, in whole blocks; `key`: of the last.
  int known_tokens(std::span<const int32_t> ids, BlockKey* key = nullptr);
  /// Makes a block known whose rows come from elsewhere: `fill` writes block_bytes and says whether
  /// it did. The block is the child of `parent`; kBlockTokens ids.
  using FillBlock = std::function<bool(std::span<std::byte> rows)>;
  bool restore_block(const BlockKey& parent, std::span<const int32_t> ids, const FillBlock& fill);
  /// The same of a resume point `tail`.size() tokens behind a block; `open_block` is empty where
  /// `tail` is.
  using FillPoint =
      std::function<bool(std::span<std::byte> detail, std::span<std::byte> open_block)>;
  bool restore_point(const BlockKey& parent, std::span<const int32_t> tail, const FillPoint& fill);

  CacheBytes bytes() const;
  const CacheLayout& layout() const { return layout_; }
  const CacheOptions& options() const { return options_; }
  int blocks_per_sequence() const { return blocks_per_sequence_; }
  int n_blocks() const { return n_blocks_; }
  /// Blocks that sequences have, and those that are known, of sequences or not.
  int blocks_in_use() const;
  /// Blocks and detail slots that hold something: of sequences, or known.
  int filled_blocks() const { return n_blocks_ - static_cast<int>(free_blocks_.size()); }
  int filled_details() const { return n_details_ - static_cast<int>(free_details_.size()); }
  int n_details() const { return n_details_; }
  int known_blocks() const { return index_.n_known(); }
  int known_points() const;

 private:
  friend class Sequence;

  struct ResumePoint {
    int pos = 0;
    int detail = -1;
  };
  struct Slot {
    bool alive = false;
    int n_tokens = 0;
    int n_blocks = 0;          // references in the table
    int detail = -1;           // live detail slot
    int32_t* table = nullptr;  // [blocks_per_sequence]
    int32_t* ids = nullptr;    // [ctx_tokens]
    BlockKey* keys = nullptr;  // [blocks_per_sequence], of sealed blocks
    int restored_tokens = 0;   // whole blocks
    bool is_private = false;
    std::vector<ResumePoint> points;  // ascending; capacity resume_points + 1 from the start
  };
  /// A detail slot that stands for tokens: those up to a block, and a tail behind it whose rows are
  /// in an open block.
  struct KnownPoint {
    bool is_known = false;
    BlockKey parent = {};
    int n_tail = 0;
    int block = -1;     // where there is a tail
    uint64_t used = 0;  // when, last
  };

  std::byte* block(int id) const { return blocks_ + static_cast<size_t>(id) * layout_.block_bytes; }
  std::byte* detail(int id) const {
    return details_ + static_cast<size_t>(id) * layout_.detail_bytes;
  }
  int take_block();
  void drop_block(int id);
  int take_detail();
  void drop_detail(int id);
  void truncate(Slot& slot, int n_tokens);
  int own_copy(int id);

  // ---- what is known: known.cpp
  const BlockKey& parent_key(const Slot& slot, int b) const {
    return b == 0 ? options_.root : slot.keys[b - 1];
  }
  std::span<const int32_t> tail(int detail) const;
  void seal(Slot& slot, int b);
  int find_point(const BlockKey& parent, std::span<const int32_t> tail) const;
  void know_point(int detail, const BlockKey& parent, std::span<const int32_t> tail, int block);
  void know_point(const Slot& slot, int detail);
  void forget_point(int detail);
  void touch_blocks(const Slot& slot);
  bool make_room_for_block();
  void forget_block(int id);
  template <class Accept>
  int oldest_point(const Accept& accept) const;
  void evict_point();
  int nearest_point(const Slot& slot, int n_ids, int& pos) const;
  bool resume_at_token(Slot& slot, int n_ids);
  void resume(Slot& slot, int n_ids);
  void resume_from_point(Slot& slot, int detail, int pos);
  int replay_start(int n_tokens) const;
  void begin_replay(Slot& slot, int from, int restored_tokens);

  const CacheLayout layout_;
  const CacheOptions options_;
  const int blocks_per_sequence_;
  const int n_blocks_;
  const int n_details_;
  std::byte* blocks_ = nullptr;
  std::byte* details_ = nullptr;
  std::vector<Slot> slots_;
  std::vector<int> free_blocks_;
  std::vector<int> block_refs_;
  std::vector<int> free_details_;
  std::vector<int> detail_refs_;
  PrefixIndex index_;
  std::vector<KnownPoint> known_points_;  // by detail slot
  int32_t* tails_ = nullptr;              // [n_details, kBlockTokens]
  uint64_t clock_ = 0;                    // of KnownPoint::used
  Sha256 hash_;
};

}  // namespace varve
