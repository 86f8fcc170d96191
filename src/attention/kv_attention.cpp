#include "attention/kv_attention.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "tensor/kv_tile.h"

namespace varve {
namespace {

constexpr int kSpan = 1024;
constexpr int kSpanBlocks = kSpan / kBlockTokens;
static_assert(kSpan % kBlockTokens == 0 && kBlockTokens % kAttendTile == 0 &&
              kBlockTokens % kKvTileRows == 0);

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

  const CacheLayout& cache() const { return sequence.layout(); }
  const PoolFormats& formats() const { return cache().formats; }
  const LayerShape& shape() const { return cache().shape.layers[static_cast<size_t>(layer)]; }
  const LayerLayout& layout() const { return cache().layers[static_cast<size_t>(layer)]; }
  int group() const { return query.n_heads / shape().n_kv_heads; }
  int heads_dim() const { return query.n_heads * shape().head_dim; }
  bool keeps_exact() const { return layout().k_exact.row_bytes + layout().v_exact.row_bytes > 0; }
  int n_sinks() const { return keeps_exact() ? formats().sink_tokens : 0; }
  int n_recent() const { return keeps_exact() ? formats().recent_tokens : 0; }
};

// What the queries at positions [t0, t1] see, in this order: the sinks where there are any, spans,
// the newest tokens.
struct KvAttention::Parts {
  Parts(const Piece& piece, int t0, int t1)
      : window(piece.shape().window),
        n_sinks(piece.n_sinks()),
        n_recent(piece.n_recent()),
        first_position(std::max(n_sinks, window == 0 ? 0 : t0 - window + 1)),
        first_span(first_position / kSpan),
        end_span(std::max(first_span, (t1 + 1 - n_recent + kSpan - 1) / kSpan)) {}

  int count() const { return (n_sinks > 0) + (end_span - first_span) + (n_recent > 0); }
  bool is_sinks(int part) const { return n_sinks > 0 && part == 0; }
  bool is_recent(int part) const { return n_recent > 0 && part == count() - 1; }
  int span(int part) const { return first_span + part - (n_sinks > 0); }

  int window;
  int n_sinks, n_recent;
  int first_position;  // of the spans, for some query
  int first_span, end_span;
};

void KvAttention::lay_out(ArenaBuilder& arena, int n_threads, int n_heads, int n_kv_heads,
                          int head_dim, int most_tokens) {
  const int group = n_heads / n_kv_heads;
  tile_ = std::max(1, kItemHeads / group);
  threads_.clear();
  for (int i = 0; i < 2 * n_threads; ++i) {
    threads_.push_back(
        Partial::take(arena, "attention of threads", product(tile_, group), head_dim));
  }
  // Sinks, the newest tokens, and spans: one more than whole ones where neither end is at one's.
  const int most_parts = most_tokens / kSpan + 4;
  parts_ = Partial::take(arena, "attention partials", product(most_parts, n_heads), head_dim);
}

void KvAttention::attend(Exec& exec, const KvQuery& query, const Segment& segment, int layer) {
  const LayerShape& shape = segment.sequence->layout().shape.layers[static_cast<size_t>(layer)];
  for (int first = 0; first < segment.n;) {
    Piece piece{query, *segment.sequence, layer, first, segment.n - first, segment.start + first};
    // A ring has room for one block more than its queries see.
    if (shape.window > 0 || piece.n_recent() > 0) {
      piece.n = std::min(piece.n, kBlockTokens - piece.start % kBlockTokens);
    }
    store(exec, piece);
    if (piece.n < 2 * exec.pool().n_threads()) {
      attend_few(exec, piece);
    } else {
      attend_many(exec, piece);
    }
    first += piece.n;
  }
}

// Turns the piece's queries, keys and values where the formats ask for it, and stores keys and
// values. An item is a KV head of the tokens of one tile.
void KvAttention::store(Exec& exec, const Piece& piece) {
  const LayerShape& shape = piece.shape();
  const int dim = shape.head_dim;
  const bool turn_k = piece.formats().rotates(Pool::k, dim);
  const bool turn_v = piece.formats().rotates(Pool::v, dim);
  const int first_tile = piece.start / kKvTileRows;
  const int end_tile = (piece.start + piece.n - 1) / kKvTileRows + 1;
  exec.parallel((end_tile - first_tile) * shape.n_kv_heads, [&](int item, int) {
    const int tile = first_tile + item / shape.n_kv_heads;
    const int kv_head = item % shape.n_kv_heads;
    const int end = std::min((tile + 1) * kKvTileRows, piece.start + piece.n);
    for (int pos = std::max(tile * kKvTileRows, piece.start); pos < end; ++pos) {
      const int token = piece.first + pos - piece.start;
      const size_t head = product(token, shape.n_kv_heads * dim) + product(kv_head, dim);
      float* const k = piece.query.k + head;
      float* const v = piece.query.v + head;
      if (turn_k) {
        float* const q = piece.query.q + product(token, piece.heads_dim()) +
                         product(kv_head * piece.group(), dim);
        for (int h = 0; h < piece.group(); ++h) hadamard(q + product(h, dim), dim);
        hadamard(k, dim);
      }
      if (turn_v) hadamard(v, dim);
      piece.sequence.store_kv(piece.layer, pos, kv_head, k, v);
    }
  });
}

// Heads of queries [first, first + n) of the piece that share a KV head, over one part.
void KvAttention::run_part(Exec& exec, const Piece& piece, int kv_head, int first, int n, int part,
                           const Partial& to, int thread) {
  const LayerShape& shape = piece.shape();
  const LayerLayout& at = piece.layout();
  const PoolFormats& formats = piece.formats();
  const int position = piece.start + first;
  const Parts parts(piece, position, position + n - 1);
  const bool sinks = parts.is_sinks(part), recent = parts.is_recent(part);
  const bool exact = sinks || recent;
  AttendKvArgs args{.q = piece.query.q + product(piece.first + first, piece.heads_dim()) +
                         product(kv_head * piece.group(), shape.head_dim),
                    .q_stride = static_cast<size_t>(piece.heads_dim()),
                    .n_queries = n,
                    .n_heads = piece.group(),
                    .head_dim = shape.head_dim,
                    .position = position,
                    .window = shape.window,
                    .first = parts.n_sinks,
                    .lag = parts.n_recent,
                    .begin = 0,
                    .end = 0,
                    .runs = nullptr,
                    .first_run = 0,
                    .run_rows = kBlockTokens,
                    .k_format = exact && at.k_exact.row_bytes > 0 ? RowFormat::bf16 : formats.k,
                    .v_format = exact && at.v_exact.row_bytes > 0 ? RowFormat::bf16 : formats.v,
                    .scale = piece.query.scale,
                    .products = exec.products(),
                    .max = to.max,
                    .sum = to.sum,
                    .values = to.values,
                    .workspace = exec.workspace(thread)};
  if (sinks) {
    args.first = 0;
    args.end = parts.n_sinks;
  } else if (recent) {
    args.first = 0;
    args.lag = 0;
    args.window = shape.window == 0 ? parts.n_recent : std::min(shape.window, parts.n_recent);
    args.begin = std::max(0, position - args.window + 1) / kAttendTile * kAttendTile;
    args.end = position + n;
  } else {
    const int span = parts.span(part);
    args.begin = std::max(span * kSpan, parts.first_position / kAttendTile * kAttendTile);
    args.end = std::min((span + 1) * kSpan, position + n - parts.n_recent);
  }
  // The newest tokens may reach into a block more than there are in a span of them.
  std::array<KvRun, kSpanBlocks + 1> runs;
  args.runs = runs.data();
  args.first_run = args.begin / kBlockTokens;
  for (int b = args.first_run; b * kBlockTokens < args.end; ++b) {
    const KvBlock block = piece.sequence.kv_block(piece.layer, b);
    const KvBlock beside = sinks    ? piece.sequence.sinks(piece.layer)
                           : recent ? piece.sequence.recent_block(piece.layer, b)
                                    : KvBlock{nullptr, nullptr};
    const auto run = [&](std::byte* rows, std::byte* exact_rows, size_t bytes, size_t exact_bytes) {
      if (exact_rows == nullptr) return rows + product(kv_head, kBlockTokens) * bytes;
      return exact_rows + product(kv_head, sinks ? parts.n_sinks : kBlockTokens) * exact_bytes;
    };
    runs[static_cast<size_t>(b - args.first_run)] = {
        run(block.keys, beside.keys, at.k_bytes, at.k_exact.row_bytes),
        run(block.values, beside.values, at.v_bytes, at.v_exact.row_bytes)};
  }
  exec.ops().attend_kv(args);
}

void KvAttention::finish(const Piece& piece, const Partial& from, size_t n, float* out) const {
  const int head_dim = piece.shape().head_dim;
  const bool turned = piece.formats().rotates(Pool::v, head_dim);
  const auto dim = static_cast<size_t>(head_dim);
  for (size_t h = 0; h < n; ++h) {
    for (size_t d = 0; d < dim; ++d) out[h * dim + d] = from.values[h * dim + d] / from.sum[h];
    if (turned) hadamard(out + h * dim, head_dim);  // its own inverse
  }
}

// Items are tiles of queries of one KV head; each goes through the parts by itself.
void KvAttention::attend_many(Exec& exec, const Piece& piece) {
  const LayerShape& shape = piece.shape();
  const int n_tiles = (piece.n + tile_ - 1) / tile_;
  exec.parallel(n_tiles * shape.n_kv_heads, [&](int item, int thread) {
    // The last tiles, which see the most, first.
    const int first = (n_tiles - 1 - item / shape.n_kv_heads) * tile_;
    const int kv_head = item % shape.n_kv_heads;
    const int n = std::min(tile_, piece.n - first);
    const size_t n_heads = product(n, piece.group());
    const Partial& one = threads_[static_cast<size_t>(2 * thread)];
    const Partial& all = threads_[static_cast<size_t>(2 * thread + 1)];
    const Parts parts(piece, piece.start + first, piece.start + first + n - 1);
    run_part(exec, piece, kv_head, first, n, 0, all, thread);
    for (int part = 1; part < parts.count(); ++part) {
      run_part(exec, piece, kv_head, first, n, part, one, thread);
      merge(one, all, n_heads, shape.head_dim);
    }
    for (int i = 0; i < n; ++i) {
      finish(piece, all.from(product(i, piece.group()), shape.head_dim),
             static_cast<size_t>(piece.group()),
             piece.query.out + product(piece.first + first + i, piece.heads_dim()) +
                 product(kv_head * piece.group(), shape.head_dim));
    }
  });
}

// Query by query; items are its parts and KV heads.
void KvAttention::attend_few(Exec& exec, const Piece& piece) {
  const LayerShape& shape = piece.shape();
  const auto n_heads = static_cast<size_t>(piece.query.n_heads);
  const auto of_part = [&](int part) {
    return parts_.from(product(part, piece.query.n_heads), shape.head_dim);
  };
  for (int i = 0; i < piece.n; ++i) {
    const Parts parts(piece, piece.start + i, piece.start + i);
    exec.parallel(parts.count() * shape.n_kv_heads, [&](int item, int thread) {
      const int part = item / shape.n_kv_heads;
      const int kv_head = item % shape.n_kv_heads;
      const size_t head = product(kv_head, piece.group());
      run_part(exec, piece, kv_head, i, 1, part, of_part(part).from(head, shape.head_dim), thread);
    });
    const Partial all = of_part(0);
    for (int part = 1; part < parts.count(); ++part) {
      merge(of_part(part), all, n_heads, shape.head_dim);
    }
    finish(piece, all, n_heads, piece.query.out + product(piece.first + i, piece.heads_dim()));
  }
}

}  // namespace varve
