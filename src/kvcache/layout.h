// Where every row lies inside a block and inside a detail slot: the one formula for the bytes of
// the cache. The allocator, `inspect` and the closing line of `run` all read it.
//
// A *block* holds what 128 tokens leave behind for as long as the context lives: per CSA layer
// 128 / ratio entries and as many index keys, per HCA layer 128 / ratio entries.
// A *detail slot* holds what only the newest tokens need: per layer the window's rows (a ring over
// token positions) and the compressor inputs of the tokens that have not closed an entry yet or
// that the next entry overlaps (a ring as well; one row = kv values, then scores, f32); and the
// newest token's hidden state, so that its logits can be had again without reading it again.
#pragma once

#include <cstddef>
#include <vector>

#include "kvcache/shape.h"
#include "tensor/row_format.h"

namespace varve {

/// The format of each pool of the cache.
struct PoolFormats {
  RowFormat window = RowFormat::f32;
  RowFormat csa = RowFormat::f32;
  RowFormat hca = RowFormat::f32;
  RowFormat index = RowFormat::f32;

  static constexpr PoolFormats all(RowFormat f) { return {f, f, f, f}; }
  bool operator==(const PoolFormats&) const = default;
  RowFormat entries(LayerKind kind) const { return kind == LayerKind::csa ? csa : hca; }
};

struct LayerLayout {
  size_t entry_bytes = 0;  // one row
  size_t index_bytes = 0;
  size_t window_bytes = 0;
  size_t entries_at = 0;  // offset in a block
  size_t index_at = 0;
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

  // By pool, without padding: CSA entries, HCA entries and index keys of one block; window rows and
  // compressor inputs of one detail slot.
  size_t csa_block_bytes = 0;
  size_t hca_block_bytes = 0;
  size_t index_block_bytes = 0;
  size_t window_detail_bytes = 0;
  size_t state_detail_bytes = 0;
  size_t hidden_detail_bytes = 0;
  size_t hidden_at = 0;  // offset in a detail slot: the newest token's hidden state, f32

  /// Exact growth of the cache, bytes a token, all pools.
  double bytes_per_token() const {
    return static_cast<double>(csa_block_bytes + hca_block_bytes + index_block_bytes) /
           kBlockTokens;
  }
};

}  // namespace varve
