// Where every row lies inside a block and inside a detail slot: the one formula for the bytes of
// the cache. The allocator, `inspect` and the closing line of `run` all read it.
//
// A *block* holds what 128 tokens leave behind for as long as the context lives: per layer with
// entries 128 / ratio of them, and as many index keys where they are picked; per layer of keys and
// values without a window those of 128 tokens, head by head.
// A *detail slot* holds what only the newest tokens need: per layer the window's rows (a ring over
// token positions; of keys and values a ring of blocks like those above), beside quantised pools
// the first and the newest tokens' rows as bf16, and the compressor inputs of the tokens that have
// not closed an entry yet or that the next entry overlaps (a ring as well; one row = kv values,
// then scores, f32); and the newest token's hidden state, so that its logits can be had again
// without reading it again.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "base/byte_range.h"
#include "kvcache/pools.h"
#include "kvcache/shape.h"

namespace varve {

/// Where a detail slot holds the rows that are kept as bf16 beside a quantised pool: of the first
/// tokens, and of the newest ones in a ring.
struct ExactRows {
  size_t row_bytes = 0;  // 0: there are none
  size_t sinks_at = 0;   // keys, values: [n_kv_heads, sink_tokens]; latents: [sink_tokens]
  size_t recent_at = 0;  // keys, values: [recent_blocks, n_kv_heads, kBlockTokens]; latents:
                         // [recent_tokens]
};

struct LayerLayout {
  size_t entry_bytes = 0;  // one row
  size_t index_bytes = 0;
  size_t window_bytes = 0;
  size_t k_bytes = 0;
  size_t v_bytes = 0;
  size_t entries_at = 0;  // offset in a block
  size_t index_at = 0;
  size_t k_at = 0;  // offset in a block, [n_kv_heads, kBlockTokens]; with a window, in the detail
  size_t v_at = 0;  // slot, of the ring's first block
  size_t ring_block_bytes = 0;  // from one block of the ring to the next
  ExactRows k_exact, v_exact, latent_exact;
  size_t window_at = 0;  // offset in a detail slot
  size_t state_at = 0;
  size_t index_state_at = 0;
};

struct CacheLayout {
  CacheLayout(const CacheShape& shape, const PoolFormats& formats);

  CacheShape shape;
  PoolFormats formats;
  std::vector<LayerLayout> layers;
  size_t block_bytes = 0;   // padded to 64
  size_t detail_bytes = 0;  // padded to 64

  // Without padding: by pool what one block and what one detail slot hold of it; compressor inputs
  // and the hidden state of a detail slot.
  PoolBytes block_pools;
  PoolBytes detail_pools;
  size_t state_detail_bytes = 0;
  size_t hidden_detail_bytes = 0;
  size_t hidden_at = 0;  // offset in a detail slot: the newest token's hidden state, f32

  /// Blocks of the ring that holds the newest tokens' keys and values as bf16, and a block's worth
  /// more, which a step writes before it reads.
  int recent_blocks() const { return ring_blocks_of(formats.recent_tokens); }
  /// Exact growth of the cache, bytes a token, all pools.
  double bytes_per_token() const { return static_cast<double>(block_pools.sum()) / kBlockTokens; }
  /// Whether reading on needs more of the past than blocks hold. The hidden state is none of that.
  bool keeps_detail() const { return detail_pools.sum() + state_detail_bytes > 0; }
  /// Of a detail slot, in order, what a sequence of n tokens goes on from: all but the compressor
  /// inputs of entries that are closed.
  std::vector<ByteRange> detail_ranges(int n_tokens) const;
  /// Tokens that are to be read again at the end of what blocks hold, so that all of the detail
  /// slot is right: every layer's window, one below the other. Nothing where rows of the first
  /// tokens are kept beside quantised ones: those are in no block.
  std::optional<int> replay_tokens() const;
  /// Whether the model keeps such rows at all.
  bool has(Pool pool) const { return block_pools[pool] + detail_pools[pool] > 0; }

 private:
  void place_window(const LayerShape& layer, LayerLayout& out);
  void place_keys_and_values(const LayerShape& layer, LayerLayout& out);
  void place_entries(const LayerShape& layer, LayerLayout& out);
  ExactRows place_exact(Pool pool, const RowShape& row, size_t sinks, size_t recent);
};

}  // namespace varve
