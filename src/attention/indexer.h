// Lightning Indexer (spec 6): scores every entry that a query may see and picks the best.
#pragma once

#include <cstdint>

#include "attention/segment.h"
#include "attention/top_k.h"
#include "base/arena.h"
#include "kernels/exec.h"

namespace varve {

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
  /// Room for each thread's candidates and a tile of scores, and for the quantized form of
  /// max_tokens queries where index keys are native. topk 0: nothing is ever scored.
  void lay_out(ArenaBuilder& arena, int n_threads, int topk, int max_tokens, int n_heads, int dim,
               RowFormat format);

  /// picks[t, 0..counts[t]) for each of the segment's rows t; rows of picks are `topk` apart.
  void pick(Exec& exec, const IndexQuery& query, const Segment& segment, int layer, int32_t* picks,
            int32_t* counts);

 private:
  // Queries that meet a tile of keys while it is in the caches.
  static constexpr int kQueryTile = 8;

  void prepare_queries(Exec& exec, const IndexQuery& query, const Segment& segment, bool native);
  void score_keys(Exec& exec, const IndexQuery& query, const Segment& segment, int layer, int first,
                  int n, int begin, int end, int thread);
  float* scores(int thread, int slot);
  void pick_tile(Exec& exec, const IndexQuery& query, const Segment& segment, int layer, int first,
                 int n, int thread, int32_t* picks, int32_t* counts);
  void pick_one(Exec& exec, const IndexQuery& query, const Segment& segment, int layer, int t,
                int32_t* picks, int32_t* counts);
  void start(TopK& best, int topk, int thread, int slot);

  int topk_ = 0;
  float* scores_ = nullptr;         // [n_threads, kQueryTile, kKeyTile]
  uint64_t* candidates_ = nullptr;  // [n_threads, kQueryTile, TopK::room(topk)]
  TopK* best_ = nullptr;            // [n_threads]
  int8_t* codes_ = nullptr;         // [max_tokens, n_heads, index_padded(dim)]
  float* code_scales_ = nullptr;    // [max_tokens, n_heads, index_groups(dim)]
  int32_t* code_sums_ = nullptr;    // [max_tokens, n_heads, index_groups(dim)]
};

}  // namespace varve
