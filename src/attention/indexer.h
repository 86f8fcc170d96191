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
  float* q;              // [n, n_heads * dim], rotated; scratch afterwards
  const float* weights;  // [n, n_heads], scaled
  int n_heads;
  int dim;
  int ratio;
  int topk;
};

class Indexer {
 public:
  /// Room for one row of scores a thread, each of max_entries, and for the quantized form of
  /// max_tokens queries where index keys are native.
  void lay_out(ArenaBuilder& arena, int n_threads, int max_entries, int max_tokens, int n_heads,
               int dim, RowFormat format);

  /// picks[t, 0..counts[t]) for each of the segment's rows t; rows of picks are `topk` apart.
  void pick(Exec& exec, const IndexQuery& query, const Segment& segment, int layer, int32_t* picks,
            int32_t* counts);

 private:
  void score_range(Exec& exec, const IndexQuery& query, const Segment& segment, int layer, int t,
                   int begin, int end, float* scores, int thread);

  float* scores(int row) { return scores_ + static_cast<size_t>(row) * max_entries_; }
  uint32_t* keys(int row) { return keys_ + static_cast<size_t>(row) * max_entries_; }

  size_t max_entries_ = 0;
  float* scores_ = nullptr;
  uint32_t* keys_ = nullptr;
  int8_t* codes_ = nullptr;       // [max_tokens, n_heads, index_padded(dim)]
  float* code_scales_ = nullptr;  // [max_tokens, n_heads, index_groups(dim)]
};

}  // namespace varve
