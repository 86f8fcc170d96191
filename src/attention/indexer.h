// Lightning Indexer (spec 6): scores every entry that a query may see and picks the best.
#pragma once

#include <cstdint>

#include "attention/segment.h"
#include "base/arena.h"
#include "kernels/exec.h"

namespace varve {

/// The k best of scores[0, n): indices ascending, min(k, n) of them; equal scores go to the lower
/// index. `keys` is room for n values. Returns how many.
int select_top_k(const float* scores, int n, int k, uint32_t* keys, int32_t* picks);

/// One layer's indexer over one segment.
struct IndexQuery {
  const float* q;        // [n, n_heads * dim], rotated
  const float* weights;  // [n, n_heads], scaled
  int n_heads;
  int dim;
  int ratio;
  int topk;
};

class Indexer {
 public:
  /// Room for one row of scores a thread, each of max_entries.
  void lay_out(ArenaBuilder& arena, int n_threads, int max_entries);

  /// picks[t, 0..counts[t]) for each of the segment's rows t; rows of picks are `topk` apart.
  void pick(Exec& exec, const IndexQuery& query, const Segment& segment, int layer, int32_t* picks,
            int32_t* counts);

 private:
  float* scores(int row) { return scores_ + static_cast<size_t>(row) * max_entries_; }
  uint32_t* keys(int row) { return keys_ + static_cast<size_t>(row) * max_entries_; }

  size_t max_entries_ = 0;
  float* scores_ = nullptr;
  uint32_t* keys_ = nullptr;
};

}  // namespace varve
