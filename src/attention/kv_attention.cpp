#include "attention/kv_attention.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace varve {
namespace {

constexpr int kSpan = 1024;
constexpr int kSpanBlocks = kSpan / kBlockTokens;
static_assert(kSpan % kBlockTokens == 0 && kBlockTokens % kAttendTile == 0);

// Heads of all queries of an item, about: rows are decoded once for them.
constexpr int kItemHeads = 48;

size_t product(int a, int b) {
  return static_cast<size_t>(a) * static_cast<size_t>(b);
}

}  // namespace

// Tokens [first, first + n) of a segment, and their layer.
struct KvAttention::Piece {
  const KvQuery& query;
  const Sequence& sequence;
  int layer;
  int first;  // of the segment
  int n;
  int start;  // position of the first

  const LayerShape& shape() const {
    return sequence.layout().shape.layers[static_cast<size_t>(layer)];
  }
  const LayerLayout& layout() const { return sequence.layout().layers[static_cast<size_t>(layer)]; }
  int group() const { return query.n_heads / shape().n_kv_heads; }
  int heads_dim() const { return query.n_heads * shape().head_dim; }
  // Spans that the query at position t sees: [first_span, end_span).
  int first_span(int t) const {
    return shape().window == 0 ? 0 : std::max(0, t - shape().window + 1) / kSpan;
  }
  int end_span(int t) const { return t / kSpan + 1; }
};

KvAttention::Partial KvAttention::take(ArenaBuilder& arena, size_t n, int head_dim) {
  return {arena.take<float>("attention partials", n), arena.take<float>("attention partials", n),
          arena.take<float>("attention partials", n * static_cast<size_t>(head_dim))};
}

void KvAttention::lay_out(ArenaBuilder& arena, int n_threads, int n_heads, int n_kv_heads,
                          int head_dim, int ctx_tokens) {
  const int group = n_heads / n_kv_heads;
  tile_ = std::max(1, kItemHeads / group);
  threads_.clear();
  spans_.clear();
  for (int i = 0; i < 2 * n_threads; ++i) {
    threads_.push_back(take(arena, product(tile_, group), head_dim));
  }
  for (int span = 0; span <= (ctx_tokens - 1) / kSpan; ++span) {
    spans_.push_back(take(arena, static_cast<size_t>(n_heads), head_dim));
  }
}

void KvAttention::attend(Exec& exec, const KvQuery& query, const Segment& segment, int layer) {
  const LayerShape& shape = segment.sequence->layout().shape.layers[static_cast<size_t>(layer)];
  for (int first = 0; first < segment.n;) {
    const int start = segment.start + first;
    // A window's ring has room for one block more than its queries see.
    const int room = shape.window == 0 ? segment.n : kBlockTokens - start % kBlockTokens;
    const int n = std::min(segment.n - first, room);
    const Piece piece{query, *segment.sequence, layer, first, n, start};
    store(exec, piece);
    if (n < 2 * exec.pool().n_threads()) {
      attend_few(exec, piece);
    } else {
      attend_many(exec, piece);
    }
    first += n;
  }
}

void KvAttention::store(Exec& exec, const Piece& piece) {
  const LayerShape& shape = piece.shape();
  const LayerLayout& at = piece.layout();
  const PoolFormats& formats = piece.sequence.layout().formats;
  const RowShape row = shape.kv_row();
  exec.parallel(piece.n, [&](int i, int) {
    const int pos = piece.start + i;
    const KvBlock block = piece.sequence.kv_block(piece.layer, pos / kBlockTokens);
    const size_t token = product(piece.first + i, shape.n_kv_heads * shape.head_dim);
    for (int h = 0; h < shape.n_kv_heads; ++h) {
      const size_t from = token + product(h, shape.head_dim);
      const auto to = static_cast<size_t>(h * kBlockTokens + pos % kBlockTokens);
      encode_row(formats.k, row, piece.query.k + from, block.keys + to * at.k_bytes);
      encode_row(formats.v, row, piece.query.v + from, block.values + to * at.v_bytes);
    }
  });
}

// Heads of queries [first, first + n) of the piece that share a KV head, over one span.
void KvAttention::run_span(Exec& exec, const Piece& piece, int kv_head, int first, int n, int span,
                           const Partial& to, int thread) {
  const LayerShape& shape = piece.shape();
  const LayerLayout& at = piece.layout();
  const PoolFormats& formats = piece.sequence.layout().formats;
  const int position = piece.start + first;
  const int seen = shape.window == 0 ? 0 : std::max(0, position - shape.window + 1);
  const int begin = std::max(span * kSpan, seen / kAttendTile * kAttendTile);
  const int end = std::min((span + 1) * kSpan, position + n);
  std::array<KvRun, kSpanBlocks> runs;
  const int first_block = begin / kBlockTokens;
  const size_t head_row = product(kv_head, kBlockTokens);
  for (int b = first_block; b * kBlockTokens < end; ++b) {
    const KvBlock block = piece.sequence.kv_block(piece.layer, b);
    runs[static_cast<size_t>(b - first_block)] = {block.keys + head_row * at.k_bytes,
                                                  block.values + head_row * at.v_bytes};
  }
  const size_t offset = product(piece.first + first, piece.heads_dim()) +
                        product(kv_head * piece.group(), shape.head_dim);
  exec.ops().attend_kv({.q = piece.query.q + offset,
                        .q_stride = static_cast<size_t>(piece.heads_dim()),
                        .n_queries = n,
                        .n_heads = piece.group(),
                        .head_dim = shape.head_dim,
                        .position = position,
                        .window = shape.window,
                        .begin = begin,
                        .end = end,
                        .runs = runs.data(),
                        .first_run = first_block,
                        .run_rows = kBlockTokens,
                        .k_format = formats.k,
                        .v_format = formats.v,
                        .scale = piece.query.scale,
                        .products = exec.products(),
                        .max = to.max,
                        .sum = to.sum,
                        .values = to.values,
                        .workspace = exec.workspace(thread)});
}

void KvAttention::merge(const Partial& from, const Partial& to, size_t n, int head_dim) {
  const auto dim = static_cast<size_t>(head_dim);
  for (size_t h = 0; h < n; ++h) {
    if (from.sum[h] == 0) continue;  // saw nothing
    const float max = std::max(from.max[h], to.max[h]);
    const float keep = to.sum[h] == 0 ? 0 : std::exp(to.max[h] - max);
    const float add = std::exp(from.max[h] - max);
    to.max[h] = max;
    to.sum[h] = to.sum[h] * keep + from.sum[h] * add;
    const float* const source = from.values + h * dim;
    float* const target = to.values + h * dim;
    for (size_t d = 0; d < dim; ++d) target[d] = target[d] * keep + source[d] * add;
  }
}

void KvAttention::finish(const Partial& from, size_t n, int head_dim, float* out) {
  const auto dim = static_cast<size_t>(head_dim);
  for (size_t h = 0; h < n; ++h) {
    for (size_t d = 0; d < dim; ++d) out[h * dim + d] = from.values[h * dim + d] / from.sum[h];
  }
}

// Items are tiles of queries of one KV head; each goes through the spans by itself.
void KvAttention::attend_many(Exec& exec, const Piece& piece) {
  const LayerShape& shape = piece.shape();
  const int n_tiles = (piece.n + tile_ - 1) / tile_;
  exec.parallel(n_tiles * shape.n_kv_heads, [&](int item, int thread) {
    // The last tiles, which see the most, first.
    const int first = (n_tiles - 1 - item / shape.n_kv_heads) * tile_;
    const int kv_head = item % shape.n_kv_heads;
    const int n = std::min(tile_, piece.n - first);
    const size_t n_heads = product(n, piece.group());
    const Partial& span_part = threads_[static_cast<size_t>(2 * thread)];
    const Partial& all = threads_[static_cast<size_t>(2 * thread + 1)];
    const int begin = piece.first_span(piece.start + first);
    const int end = piece.end_span(piece.start + first + n - 1);
    run_span(exec, piece, kv_head, first, n, begin, all, thread);
    for (int span = begin + 1; span < end; ++span) {
      run_span(exec, piece, kv_head, first, n, span, span_part, thread);
      merge(span_part, all, n_heads, shape.head_dim);
    }
    for (int i = 0; i < n; ++i) {
      const size_t head = product(i, piece.group());
      finish(
          {all.max + head, all.sum + head, all.values + head * static_cast<size_t>(shape.head_dim)},
          static_cast<size_t>(piece.group()), shape.head_dim,
          piece.query.out + product(piece.first + first + i, piece.heads_dim()) +
              product(kv_head * piece.group(), shape.head_dim));
    }
  });
}

// Query by query; items are its spans and KV heads.
void KvAttention::attend_few(Exec& exec, const Piece& piece) {
  const LayerShape& shape = piece.shape();
  const auto n_heads = static_cast<size_t>(piece.query.n_heads);
  for (int i = 0; i < piece.n; ++i) {
    const int begin = piece.first_span(piece.start + i);
    const int end = piece.end_span(piece.start + i);
    exec.parallel((end - begin) * shape.n_kv_heads, [&](int item, int thread) {
      const int span = begin + item / shape.n_kv_heads;
      const int kv_head = item % shape.n_kv_heads;
      const size_t head = product(kv_head, piece.group());
      const Partial& part = spans_[static_cast<size_t>(span)];
      run_span(exec, piece, kv_head, i, 1, span,
               {part.max + head, part.sum + head,
                part.values + head * static_cast<size_t>(shape.head_dim)},
               thread);
    });
    const Partial& all = spans_[static_cast<size_t>(begin)];
    for (int span = begin + 1; span < end; ++span) {
      merge(spans_[static_cast<size_t>(span)], all, n_heads, shape.head_dim);
    }
    finish(all, n_heads, shape.head_dim,
           piece.query.out + product(piece.first + i, piece.heads_dim()));
  }
}

}  // namespace varve
