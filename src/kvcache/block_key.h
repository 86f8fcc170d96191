// What a block is known by: a hash of all that its rows depend on, which chains from block to
// block.
#pragma once

#include <cstdint>
#include <span>

#include "base/sha256.h"

namespace varve {

/// SHA-256 of the parent's key and the block's own token ids. The parent of a sequence's first
/// block is a root: what stands for the model and the formats of its rows.
using BlockKey = Digest;

inline BlockKey child_key(Sha256& hash, const BlockKey& parent, std::span<const int32_t> ids) {
  hash.add(parent);
  hash.add(std::as_bytes(ids));
  return hash.finish();
}

}  // namespace varve
