// What a model keeps of its past, layer by layer: the only thing the cache knows about a model.
#pragma once

#include <string_view>
#include <vector>

#include "tensor/row_format.h"

namespace varve {

/// Tokens of one cache block. Every compression ratio divides it, so a sealed block is complete.
inline constexpr int kBlockTokens = 128;

/// Blocks of a ring that holds the newest n tokens and a block's worth more, which a step writes
/// before it reads; 0 for none.
constexpr int ring_blocks_of(int n_tokens) {
  return n_tokens == 0 ? 0 : (n_tokens - 1 + kBlockTokens - 1) / kBlockTokens + 1;
}

enum class LayerKind {
  swa,  // the sliding window only
  csa,  // window + one entry per `ratio` tokens, overlapping, picked by the Lightning Indexer
  hca,  // window + one entry per `ratio` tokens, attended densely
  kv,   // a key and a value of each KV head for every token, or for a window of them (MHA, GQA)
  mla,  // one latent row a token, key and value of all heads
  dsa,  // the same, picked by the Lightning Indexer
};

struct LayerShape {
  LayerKind kind = LayerKind::swa;
  int ratio = 0;       // tokens per entry; 0: no entries. Divides kBlockTokens.
  int head_dim = 0;    // values of a window row, of an entry, of a head's key and of its value
  int rope_dim = 0;    // of those, the last ones are rotated
  int index_dim = 0;   // values of an index key; 0 but for csa and dsa
  int n_kv_heads = 0;  // kv
  int window = 0;      // kv: tokens that a query sees, its own included; 0: all

  RowShape row() const { return {head_dim, rope_dim, false}; }
  RowShape index_row() const { return {index_dim, rope_dim, true}; }
  /// Keys and values of a head, which are rotated in pairs of their own or not at all.
  RowShape kv_row() const { return {head_dim, 0, false}; }

  bool is_picked() const { return kind == LayerKind::csa || kind == LayerKind::dsa; }
  /// Whether entries are made of several tokens' inputs, which the sequence keeps.
  bool is_compressed() const { return kind == LayerKind::csa || kind == LayerKind::hca; }
  int entries_per_block() const { return ratio == 0 ? 0 : kBlockTokens / ratio; }
  /// Tokens whose compressor inputs are needed to close an entry: 2 * ratio where windows overlap.
  int state_tokens() const {
    return !is_compressed() ? 0 : kind == LayerKind::csa ? 2 * ratio : ratio;
  }
  /// Values of one token's compressor input (kv, and as many scores).
  int state_width() const {
    return !is_compressed() ? 0 : (kind == LayerKind::csa ? 2 * head_dim : head_dim);
  }
  int index_state_width() const { return kind == LayerKind::csa ? 2 * index_dim : 0; }
  /// kv with a window: blocks of its ring.
  int ring_blocks() const { return ring_blocks_of(window); }
};

struct CacheShape {
  std::vector<LayerShape> layers = {};
  int window = 0;      // tokens of which every layer keeps a window row; 0: none
  int hidden_dim = 0;  // values of the newest token's hidden state, from which its logits follow
};

inline std::string_view layer_kind_name(LayerKind kind) {
  switch (kind) {
    case LayerKind::swa:
      return "SWA";
    case LayerKind::csa:
      return "CSA";
    case LayerKind::hca:
      return "HCA";
    case LayerKind::kv:
      return "KV";
    case LayerKind::mla:
      return "MLA";
    case LayerKind::dsa:
      break;
  }
  return "DSA";
}

}  // namespace varve
