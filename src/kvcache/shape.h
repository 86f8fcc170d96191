// What a model keeps of its past, layer by layer: the only thing the cache knows about a model.
#pragma once

#include <string_view>
#include <vector>

#include "tensor/row_format.h"

namespace varve {

/// Tokens of one cache block. Every compression ratio divides it, so a sealed block is complete.
inline constexpr int kBlockTokens = 128;

enum class LayerKind {
  swa,  // the sliding window only
  csa,  // window + one entry per `ratio` tokens, overlapping, picked by the Lightning Indexer
  hca,  // window + one entry per `ratio` tokens, attended densely
};

struct LayerShape {
  LayerKind kind = LayerKind::swa;
  int ratio = 0;      // tokens per entry; 0 for swa. Divides kBlockTokens.
  int head_dim = 0;   // values of a window row and of an entry (K = V)
  int rope_dim = 0;   // of those, the last ones are rotated
  int index_dim = 0;  // values of an index key; 0 but for csa

  RowShape row() const { return {head_dim, rope_dim, false}; }
  RowShape index_row() const { return {index_dim, rope_dim, true}; }
  int entries_per_block() const { return ratio == 0 ? 0 : kBlockTokens / ratio; }
  /// Tokens whose compressor inputs are needed to close an entry: 2 * ratio where windows overlap.
  int state_tokens() const { return kind == LayerKind::csa ? 2 * ratio : ratio; }
  /// Values of one token's compressor input (kv, and as many scores).
  int state_width() const {
    return ratio == 0 ? 0 : (kind == LayerKind::csa ? 2 * head_dim : head_dim);
  }
  int index_state_width() const { return 2 * index_dim; }
};

struct CacheShape {
  std::vector<LayerShape> layers = {};
  int window = 0;      // tokens that every layer keeps whole
  int hidden_dim = 0;  // values of the newest token's hidden state, from which its logits follow
};

inline std::string_view layer_kind_name(LayerKind kind) {
  switch (kind) {
    case LayerKind::swa:
      return "SWA";
    case LayerKind::csa:
      return "CSA";
    case LayerKind::hca:
      break;
  }
  return "HCA";
}

}  // namespace varve
