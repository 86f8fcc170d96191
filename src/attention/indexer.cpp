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

// Scores entries [begin, end), whose keys lie in runs of one block each.
void score_range(Exec& exec, const IndexQuery& query, const Segment& segment, int layer, int t,
                 int begin, int end, float* scores) {
  const int run = kBlockTokens / query.ratio;
  const auto q_floats = static_cast<size_t>(query.n_heads) * static_cast<size_t>(query.dim);
  for (int w = begin; w < end;) {
    const int stop = std::min(end, (w / run + 1) * run);
    exec.ops().index_scores(
        {query.q + static_cast<size_t>(t) * q_floats,
         query.weights + static_cast<size_t>(t) * static_cast<size_t>(query.n_heads), query.n_heads,
         query.dim, reinterpret_cast<const float*>(segment.sequence->index_key(layer, w)), stop - w,
         scores + w});
    w = stop;
  }
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

void Indexer::lay_out(ArenaBuilder& arena, int n_threads, int max_entries) {
  max_entries_ = static_cast<size_t>(max_entries);
  const size_t n = static_cast<size_t>(n_threads) * max_entries_;
  scores_ = arena.take<float>("index scores", n);
  keys_ = arena.take<uint32_t>("index scores", n);
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
  if (segment.n > exec.pool().n_threads()) {
    exec.parallel(segment.n, [&](int t, int thread) {
      if (n_visible(t) > query.topk) {
        score_range(exec, query, segment, layer, t, 0, n_visible(t), scores(thread));
      }
      select(t, thread);
    });
    return;
  }
  // Few queries (decode): the keys are what there is to split.
  const int n_tiles = (n_visible(segment.n - 1) + kKeyTile - 1) / kKeyTile;
  exec.parallel(segment.n * n_tiles, [&](int item, int) {
    const int t = item / n_tiles;
    const int begin = item % n_tiles * kKeyTile;
    score_range(exec, query, segment, layer, t, begin, std::min(begin + kKeyTile, n_visible(t)),
                scores(t));
  });
  exec.parallel(segment.n, [&](int t, int) { select(t, t); });
}

}  // namespace varve
