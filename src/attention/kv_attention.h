// Attention over keys and values of several heads (MHA, GQA), whole or in a sliding window.
//
// The positions are cut into spans of kSpan. A query's softmax runs over each span by itself, and
// the spans are merged in ascending order: so few queries can be shared out over many threads, and
// it makes no difference whether they were (law 1).
#pragma once

#include <vector>

#include "attention/segment.h"
#include "base/arena.h"
#include "kernels/exec.h"

namespace varve {

/// One layer's queries over one segment.
struct KvQuery {
  const float* q;  // [n, n_heads * head_dim], rotated
  const float* k;  // [n, n_kv_heads * head_dim], rotated: the segment's own
  const float* v;  // [n, n_kv_heads * head_dim]
  int n_heads;     // a multiple of the layer's n_kv_heads: query head h reads head h / group
  float scale;
  float* out;  // [n, n_heads * head_dim]; may be q
};

class KvAttention {
 public:
  /// Room for partial results: of each thread, and of one query over all spans of a context.
  void lay_out(ArenaBuilder& arena, int n_threads, int n_heads, int n_kv_heads, int head_dim,
               int ctx_tokens);

  /// Stores the segment's keys and values and lets every query see those up to its own.
  void attend(Exec& exec, const KvQuery& query, const Segment& segment, int layer);

 private:
  // What running softmaxes leave, one for each of n heads.
  struct Partial {
    float* max;     // [n]
    float* sum;     // [n]
    float* values;  // [n, head_dim]
  };
  struct Piece;  // neighbouring tokens of a segment

  static Partial take(ArenaBuilder& arena, size_t n, int head_dim);
  void store(Exec& exec, const Piece& piece);
  void attend_many(Exec& exec, const Piece& piece);
  void attend_few(Exec& exec, const Piece& piece);
  void run_span(Exec& exec, const Piece& piece, int kv_head, int first, int n, int span,
                const Partial& to, int thread);
  static void merge(const Partial& from, const Partial& to, size_t n, int head_dim);
  static void finish(const Partial& from, size_t n, int head_dim, float* out);

  int tile_ = 1;                  // queries of one item
  std::vector<Partial> threads_;  // two of each thread: a span's, and all before it
  std::vector<Partial> spans_;    // [spans of a context], each of n_heads
};

}  // namespace varve
