// What passes between a cache and the store on disk: blocks as they are sealed and resume points as
// they are saved go out; what a new session begins with comes in.
#pragma once

#include <cstdint>
#include <span>

#include "kvcache/cache.h"
#include "store/store.h"

namespace varve {

class Persistence {
 public:
  /// Both outlive it. The cache's root is the store's fingerprint.
  Persistence(Cache& cache, Store& store) : cache_(cache), store_(store) {}

  /// Puts the blocks that were sealed since the sequence had `before` tokens.
  void put_blocks(const Sequence& sequence, int before);
  /// Puts the sequence's present position as a resume point.
  void put_point(const Sequence& sequence);
  /// Makes known to the cache what the store has of the beginning of `ids`: blocks, and the resume
  /// point that is furthest on. Returns tokens whose blocks were read.
  int restore(std::span<const int32_t> ids);

 private:
  void restore_point(std::span<const int32_t> ids, std::span<const BlockKey> chain);

  Cache& cache_;
  Store& store_;
  Sha256 hash_;
};

}  // namespace varve
