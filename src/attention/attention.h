// Attention over the window and the compressed entries of one layer, in one softmax
// (spec 4.3, 4.4).
#pragma once

#include <cstdint>

#include "attention/segment.h"
#include "base/arena.h"
#include "kernels/exec.h"

namespace varve {

/// One layer's queries over one segment.
struct AttentionQuery {
  const float* q;  // [n, n_heads * head_dim], rotated
  int n_heads;
  int head_dim;
  // [n] stored rows, the segment's own: window rows, or of quantised latents the bf16 rows.
  const std::byte* window_rows;
  const float* sinks;  // [n_heads]
  float scale;
  const int32_t* picks;   // CSA: [n, topk], ascending
  const int32_t* counts;  // CSA: [n]
  int topk;
  float* out;  // [n, n_heads * head_dim]; may be q
};

class Attention {
 public:
  /// Room for the row lists of each thread: at most window + max_entries rows.
  void lay_out(ArenaBuilder& arena, int n_threads, int max_rows);

  /// Keys of the query at position t, in this order: window rows of positions
  /// max(0, t - window + 1) .. t, then entries in ascending order: the picks of a CSA layer, all
  /// w < (t + 1) / ratio of an HCA layer. Of quantised latents the first tokens' and those of the
  /// newest ones, counted from t, are taken as bf16.
  void attend(Exec& exec, const AttentionQuery& query, const Segment& segment, int layer);

 private:
  int gather(const AttentionQuery& query, const Segment& segment, int layer, int t,
             AttendRow* rows) const;

  size_t max_rows_ = 0;
  AttendRow* rows_ = nullptr;  // [n_threads, max_rows]
};

/// Keeps the segment's newest window rows in the sequence's ring. `rows` as in AttentionQuery.
void keep_window_rows(const Segment& segment, int layer, const std::byte* rows);
/// The same of the bf16 rows of quantised latents, with those of the first tokens.
void keep_exact_latents(const Segment& segment, int layer, const std::byte* rows);

}  // namespace varve
