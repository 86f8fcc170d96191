// Attention over keys and values of several heads (MHA, GQA), whole or in a sliding window.
//
// What a query sees is cut into parts: where keys or values are quantised the first tokens and the
// newest ones, which are kept as bf16, and between them (or alone) spans of kSpan positions. A
// query's softmax runs over each part by itself, and the parts are merged in order: so few queries
// can be shared out over many threads, and it makes no difference whether they were (law 1). Which
// tokens are among the newest is counted from each query's own position.
#pragma once

#include <vector>

#include "attention/partial.h"
#include "attention/segment.h"
#include "base/arena.h"
#include "kernels/exec.h"

namespace varve {

/// One layer's queries over one segment. q, k and v may be left changed.
struct KvQuery {
  float* q;     // [n, n_heads * head_dim], rotated
  float* k;     // [n, n_kv_heads * head_dim], rotated: the segment's own
  float* v;     // [n, n_kv_heads * head_dim]
  int n_heads;  // a multiple of the layer's n_kv_heads: query head h reads head h / group
  float scale;
  float* out;  // [n, n_heads * head_dim]; may be q
};

class KvAttention {
 public:
  /// Room for partial results: of each thread, and of one query over all parts of the most tokens
  /// that it can see.
  void lay_out(ArenaBuilder& arena, int n_threads, int n_heads, int n_kv_heads, int head_dim,
               int most_tokens);

  /// Stores the segment's keys and values and lets every query see those up to its own.
  void attend(Exec& exec, const KvQuery& query, const Segment& segment, int layer);

 private:
  struct Piece;  // neighbouring tokens of a segment
  struct Parts;  // of what neighbouring queries see

  void store(Exec& exec, const Piece& piece);
  void attend_many(Exec& exec, const Piece& piece);
  void attend_few(Exec& exec, const Piece& piece);
  void run_part(Exec& exec, const Piece& piece, int kv_head, int first, int n, int part,
                const Partial& to, int thread);
  void finish(const Piece& piece, const Partial& from, size_t n, float* out) const;

  int tile_ = 1;                  // queries of one item
  std::vector<Partial> threads_;  // two of each thread: a part's, and all before it
  Partial parts_{};               // [parts of what a query sees, n_heads]
};

}  // namespace varve
