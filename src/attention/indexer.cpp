#include "attention/indexer.h"

#include <algorithm>

namespace varve {
namespace {

// Keys of one tile: 68 KiB of native ones, which stay in a core's own caches for all queries.
constexpr int kKeyTile = 1024;

// Keys lie wherever the cache has their block, so nothing but this reads them ahead.
void prefetch(const std::byte* p, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i);
}

size_t product(int a, int b) {
  return static_cast<size_t>(a) * static_cast<size_t>(b);
}

}  // namespace

void Indexer::lay_out(ArenaBuilder& arena, int n_threads, int topk, int max_tokens, int n_heads,
                      int dim, RowFormat format) {
  topk_ = topk;
  const auto threads = topk > 0 ? static_cast<size_t>(n_threads) : 0;
  scores_ = arena.take<float>("index scores", threads * kQueryTile * kKeyTile);
  candidates_ = arena.take<uint64_t>("index scores", threads * kQueryTile * TopK::room(topk));
  best_ = arena.take<TopK>("index scores", threads);
  const size_t n_queries =
      topk > 0 && format == RowFormat::native ? product(max_tokens, n_heads) : 0;
  const auto groups = static_cast<size_t>(index_groups(dim));
  codes_ = arena.take<int8_t>("index queries", n_queries * static_cast<size_t>(index_padded(dim)));
  code_scales_ = arena.take<float>("index queries", n_queries * groups);
  code_sums_ = arena.take<int32_t>("index queries", n_queries * groups);
}

void Indexer::prepare_queries(Exec& exec, const IndexQuery& query, const Segment& segment,
                              bool native) {
  const auto padded = static_cast<size_t>(index_padded(query.dim));
  const auto groups = static_cast<size_t>(index_groups(query.dim));
  exec.parallel(segment.n * query.n_heads, [&](int item, int) {
    const auto row = static_cast<size_t>(item);
    float* const q = query.q + row * static_cast<size_t>(query.dim);
    if (native) {
      quantize_index_query(q, query.dim, codes_ + row * padded, code_scales_ + row * groups,
                           code_sums_ + row * groups);
    } else if (exec.products() == Products::bf16) {
      for (int d = 0; d < query.dim; ++d) q[d] = round_to_bf16(q[d]);
    }
  });
}

float* Indexer::scores(int thread, int slot) {
  return scores_ + (product(thread, kQueryTile) + static_cast<size_t>(slot)) * kKeyTile;
}

// scores(thread, i)[w - begin] of queries first + i, i < n <= kQueryTile, and of entries w in
// [begin, end), at most kKeyTile of them, whose keys lie in runs of one block each.
void Indexer::score_keys(Exec& exec, const IndexQuery& query, const Segment& segment, int layer,
                         int first, int n, int begin, int end, int thread) {
  const CacheLayout& layout = segment.sequence->layout();
  const RowFormat format = layout.formats.index;
  const RowShape shape = layout.shape.layers[static_cast<size_t>(layer)].index_row();
  const size_t bytes = layout.layers[static_cast<size_t>(layer)].index_bytes;
  const int run = kBlockTokens / query.ratio;
  const size_t row = product(first, query.n_heads);
  const auto dim = static_cast<size_t>(query.dim);
  const auto groups = static_cast<size_t>(index_groups(query.dim));
  for (int w = begin; w < end;) {
    const int stop = std::min(end, (w / run + 1) * run);
    const std::byte* const keys = segment.sequence->index_key(layer, w);
    const int n_keys = stop - w;
    if (stop < end) {
      prefetch(segment.sequence->index_key(layer, stop),
               bytes * static_cast<size_t>(std::min(run, end - stop)));
    }
    if (format == RowFormat::native) {
      exec.ops().index_scores_native(
          {.q = codes_ + row * static_cast<size_t>(index_padded(query.dim)),
           .q_scales = code_scales_ + row * groups,
           .q_sums = code_sums_ + row * groups,
           .weights = query.weights + row,
           .n_queries = n,
           .n_heads = query.n_heads,
           .dim = query.dim,
           .keys = keys,
           .n_keys = n_keys,
           .scores = scores(thread, 0) + (w - begin),
           .scores_stride = kKeyTile});
    } else {
      const auto* values = reinterpret_cast<const float*>(keys);
      if (format != RowFormat::f32) {
        float* const decoded = exec.workspace(thread);
        for (int k = 0; k < n_keys; ++k) {
          decode_row(format, shape, keys + static_cast<size_t>(k) * bytes,
                     decoded + static_cast<size_t>(k) * dim);
        }
        values = decoded;
      }
      for (int i = 0; i < n; ++i) {
        const size_t head = row + product(i, query.n_heads);
        exec.ops().index_scores({query.q + head * dim, query.weights + head, query.n_heads,
                                 query.dim, values, n_keys, scores(thread, i) + (w - begin)});
      }
    }
    w = stop;
  }
}

void Indexer::start(TopK& best, int topk, int thread, int slot) {
  best.start(topk, candidates_ + (product(thread, kQueryTile) + static_cast<size_t>(slot)) *
                                     TopK::room(topk_));
}

// Queries [first, first + n), n <= kQueryTile, on this thread: each tile of keys meets all of them.
void Indexer::pick_tile(Exec& exec, const IndexQuery& query, const Segment& segment, int layer,
                        int first, int n, int thread, int32_t* picks, int32_t* counts) {
  const auto n_visible = [&](int t) { return (segment.start + t + 1) / query.ratio; };
  TopK best[kQueryTile];
  for (int i = 0; i < n; ++i) start(best[i], query.topk, thread, i);
  const int n_keys = n_visible(first + n - 1);  // the last query sees the most
  for (int begin = 0; begin < n_keys; begin += kKeyTile) {
    const int end = std::min(begin + kKeyTile, n_keys);
    score_keys(exec, query, segment, layer, first, n, begin, end, thread);
    for (int i = 0; i < n; ++i) {
      const int visible = std::min(end, n_visible(first + i));
      if (visible > begin) best[i].add(scores(thread, i), visible - begin, begin);
    }
  }
  for (int i = 0; i < n; ++i) {
    counts[first + i] = best[i].finish(picks + product(first + i, query.topk));
  }
}

// Query t on all threads, which share the keys.
void Indexer::pick_one(Exec& exec, const IndexQuery& query, const Segment& segment, int layer,
                       int t, int32_t* picks, int32_t* counts) {
  const int n_visible = (segment.start + t + 1) / query.ratio;
  const int n_threads = exec.pool().n_threads();
  for (int thread = 0; thread < n_threads; ++thread) start(best_[thread], query.topk, thread, 0);
  exec.parallel((n_visible + kKeyTile - 1) / kKeyTile, [&](int tile, int thread) {
    const int begin = tile * kKeyTile;
    const int end = std::min(begin + kKeyTile, n_visible);
    score_keys(exec, query, segment, layer, t, 1, begin, end, thread);
    best_[thread].add(scores(thread, 0), end - begin, begin);
  });
  for (int thread = 1; thread < n_threads; ++thread) best_[0].merge(best_[thread]);
  counts[t] = best_[0].finish(picks + product(t, query.topk));
}

void Indexer::pick(Exec& exec, const IndexQuery& query, const Segment& segment, int layer,
                   int32_t* picks, int32_t* counts) {
  // While all entries are picked, nothing needs a score.
  int first = 0;
  for (; first < segment.n; ++first) {
    const int n_visible = (segment.start + first + 1) / query.ratio;
    if (n_visible > query.topk) break;
    for (int w = 0; w < n_visible; ++w)
      picks[product(first, query.topk) + static_cast<size_t>(w)] = w;
    counts[first] = n_visible;
  }
  if (first == segment.n) return;
  prepare_queries(exec, query, segment,
                  segment.sequence->layout().formats.index == RowFormat::native);
  const int n = segment.n - first;
  const int n_threads = exec.pool().n_threads();
  if (n < 2 * n_threads) {
    for (int t = first; t < segment.n; ++t) pick_one(exec, query, segment, layer, t, picks, counts);
    return;
  }
  // At least four items a thread.
  const int tile = std::clamp(n / (4 * n_threads), 1, kQueryTile);
  exec.parallel((n + tile - 1) / tile, [&](int item, int thread) {
    const int begin = first + item * tile;
    pick_tile(exec, query, segment, layer, begin, std::min(tile, segment.n - begin), thread, picks,
              counts);
  });
}

}  // namespace varve
