// Attention over the window and the compressed entries of one layer, in one softmax
// (spec 4.3, 4.4).
//
// Where a query sees many rows its softmax runs over parts of them, by their number alone, which
// are merged in order: so few queries can be shared out over threads, each row read once for all
// heads, and it makes no difference whether they were (law 1).
#pragma once

#include <cstdint>
#include <vector>

#include "attention/partial.h"
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
  /// Room for the row lists of each thread and for what parts leave. max_rows: that a query sees.
  void lay_out(ArenaBuilder& arena, int n_threads, int n_heads, int head_dim, int max_rows);

  /// Keys of the query at position t, in this order: window rows of positions
  /// max(0, t - window + 1) .. t, then entries in ascending order: the picks of a CSA layer, all
  /// w < (t + 1) / ratio of an HCA layer. Of quantised latents the first tokens' and those of the
  /// newest ones, counted from t, are taken as bf16.
  void attend(Exec& exec, const AttentionQuery& query, const Segment& segment, int layer);

 private:
  struct Query;  // one token's

  void run_part(Exec& exec, const Query& query, int part, int head, int n_heads, const Partial* to,
                int thread);
  static void finish(const Query& query, const Partial& from, int head, int n_heads);
  void attend_whole(Exec& exec, const Query& query, int thread);
  void attend_split(Exec& exec, const Query& query);

  size_t room_ = 0;               // rows of a list
  AttendRow* rows_ = nullptr;     // [n_threads, room]
  std::vector<Partial> threads_;  // two of each thread: a part's, and all before it
  Partial parts_{};               // [parts, n_heads]
};

/// Keeps the segment's newest window rows in the sequence's ring. `rows` as in AttentionQuery.
void keep_window_rows(const Segment& segment, int layer, const std::byte* rows);
/// The same of the bf16 rows of quantised latents, with those of the first tokens.
void keep_exact_latents(const Segment& segment, int layer, const std::byte* rows);

}  // namespace varve
