#include "attention/indexer.h"

#include <algorithm>
#include <bit>
#include <functional>

namespace varve {
namespace {

// Entries of one work item when few queries share many threads.
constexpr int kKeyTile = 4096;

// Unsigned integers in the order of the floats; every NaN has a place of its own.
uint32_t ordered(float value) {
  const auto bits = std::bit_cast<uint32_t>(value + 0.0f);  // -0 becomes +0: they are equal scores
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

}  // namespace

int select_top_k(const float* scores, int n, int k, uint32_t* keys, int32_t* picks) {
  if (n <= k) {
    for (int i = 0; i < n; ++i) picks[i] = i;
    return n;
  }
  std::transform(scores, scores + n, keys, ordered);
  std::nth_element(keys, keys + (k - 1), keys + n, std::greater<>());
  const uint32_t threshold = keys[k - 1];
  const auto n_above = std::count_if(keys, keys + k, [&](uint32_t x) { return x > threshold; });
  int n_ties = k - static_cast<int>(n_above);  // of the entries at the threshold, the first ones
  int n_picks = 0;
  for (int i = 0; i < n && n_picks < k; ++i) {
    const uint32_t key = ordered(scores[i]);
    if (key > threshold || (key == threshold && n_ties-- > 0)) picks[n_picks++] = i;
  }
  return n_picks;
}

void Indexer::lay_out(ArenaBuilder& arena, int n_threads, int max_entries, int max_tokens,
                      int n_heads, int dim, RowFormat format) {
  max_entries_ = static_cast<size_t>(max_entries);
  const size_t n = static_cast<size_t>(n_threads) * max_entries_;
  scores_ = arena.take<float>("index scores", n);
  keys_ = arena.take<uint32_t>("index scores", n);
  const size_t n_queries = format == RowFormat::native && max_entries > 0
                               ? static_cast<size_t>(max_tokens) * static_cast<size_t>(n_heads)
                               : 0;
  codes_ = arena.take<int8_t>("index queries", n_queries * static_cast<size_t>(index_padded(dim)));
  code_scales_ =
      arena.take<float>("index queries", n_queries * static_cast<size_t>(index_groups(dim)));
}

// Scores entries [begin, end), whose keys lie in runs of one block each.
void Indexer::score_range(Exec& exec, const IndexQuery& query, const Segment& segment, int layer,
                          int t, int begin, int end, float* scores, int thread) {
  const CacheLayout& layout = segment.sequence->layout();
  const RowFormat format = layout.formats.index;
  const RowShape shape = layout.shape.layers[static_cast<size_t>(layer)].index_row();
  const size_t bytes = layout.layers[static_cast<size_t>(layer)].index_bytes;
  const int run = kBlockTokens / query.ratio;
  const auto row = static_cast<size_t>(t);
  const auto n_heads = static_cast<size_t>(query.n_heads);
  const float* const weights = query.weights + row * n_heads;
  for (int w = begin; w < end;) {
    const int stop = std::min(end, (w / run + 1) * run);
    const std::byte* const keys = segment.sequence->index_key(layer, w);
    const int n_keys = stop - w;
    if (format == RowFormat::native) {
      exec.ops().index_scores_native(
          {.q = codes_ + row * n_heads * static_cast<size_t>(index_padded(query.dim)),
           .q_scales = code_scales_ + row * n_heads * static_cast<size_t>(index_groups(query.dim)),
           .weights = weights,
           .n_heads = query.n_heads,
           .dim = query.dim,
           .keys = keys,
           .n_keys = n_keys,
           .scores = scores + w});
    } else {
      const auto* values = reinterpret_cast<const float*>(keys);
      if (format != RowFormat::f32) {
        float* const decoded = exec.workspace(thread);
        for (int k = 0; k < n_keys; ++k) {
          decode_row(format, shape, keys + static_cast<size_t>(k) * bytes,
                     decoded + static_cast<size_t>(k) * static_cast<size_t>(query.dim));
        }
        values = decoded;
      }
      exec.ops().index_scores({query.q + row * n_heads * static_cast<size_t>(query.dim), weights,
                               query.n_heads, query.dim, values, n_keys, scores + w});
    }
    w = stop;
  }
}

void Indexer::pick(Exec& exec, const IndexQuery& query, const Segment& segment, int layer,
                   int32_t* picks, int32_t* counts) {
  const auto n_visible = [&](int t) { return (segment.start + t + 1) / query.ratio; };
  const auto select = [&](int t, int row) {
    counts[t] = select_top_k(scores(row), n_visible(t), query.topk, keys(row),
                             picks + static_cast<size_t>(t) * static_cast<size_t>(query.topk));
  };
  // While all entries are picked, nothing needs a score.
  if (n_visible(segment.n - 1) <= query.topk) {
    for (int t = 0; t < segment.n; ++t) select(t, 0);
    return;
  }
  const bool native = segment.sequence->layout().formats.index == RowFormat::native;
  exec.parallel(segment.n * query.n_heads, [&](int item, int) {
    const auto row = static_cast<size_t>(item);
    float* const q = query.q + row * static_cast<size_t>(query.dim);
    if (native) {
      quantize_index_query(q, query.dim,
                           codes_ + row * static_cast<size_t>(index_padded(query.dim)),
                           code_scales_ + row * static_cast<size_t>(index_groups(query.dim)));
    } else if (exec.products() == Products::bf16) {
      for (int d = 0; d < query.dim; ++d) q[d] = round_to_bf16(q[d]);
    }
  });
  if (segment.n > exec.pool().n_threads()) {
    exec.parallel(segment.n, [&](int t, int thread) {
      if (n_visible(t) > query.topk) {
        score_range(exec, query, segment, layer, t, 0, n_visible(t), scores(thread), thread);
      }
      select(t, thread);
    });
    return;
  }
  // Few queries (decode): the keys are what there is to split.
  const int n_tiles = (n_visible(segment.n - 1) + kKeyTile - 1) / kKeyTile;
  exec.parallel(segment.n * n_tiles, [&](int item, int thread) {
    const int t = item / n_tiles;
    const int begin = item % n_tiles * kKeyTile;
    score_range(exec, query, segment, layer, t, begin, std::min(begin + kKeyTile, n_visible(t)),
                scores(t), thread);
  });
  exec.parallel(segment.n, [&](int t, int) { select(t, t); });
}

}  // namespace varve
