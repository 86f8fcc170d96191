#include "attention/attention.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace varve {
namespace {

// Heads of one work item when there are too few queries to go round.
constexpr int kHeadGroup = 8;

}  // namespace

void Attention::lay_out(ArenaBuilder& arena, int n_threads, int max_rows) {
  max_rows_ = static_cast<size_t>(max_rows);
  rows_ =
      arena.take<const float*>("attention row lists", static_cast<size_t>(n_threads) * max_rows_);
}

int Attention::gather(const AttentionQuery& query, const Segment& segment, int layer,
                      const LayerShape& shape, int window, int t, const float** rows) const {
  const int pos = segment.start + t;
  int n = 0;
  for (int p = std::max(0, pos - window + 1); p <= pos; ++p) {
    rows[n++] = p >= segment.start
                    ? query.window_rows + static_cast<size_t>(p - segment.start) *
                                              static_cast<size_t>(query.head_dim)
                    : reinterpret_cast<const float*>(segment.sequence->window_row(layer, p));
  }
  const auto entry = [&](int w) {
    return reinterpret_cast<const float*>(segment.sequence->entry(layer, w));
  };
  if (shape.kind == LayerKind::csa) {
    const int32_t* const picks =
        query.picks + static_cast<size_t>(t) * static_cast<size_t>(query.topk);
    for (int i = 0; i < query.counts[t]; ++i) rows[n++] = entry(picks[i]);
  } else if (shape.kind == LayerKind::hca) {
    for (int w = 0; w < (pos + 1) / shape.ratio; ++w) rows[n++] = entry(w);
  }
  assert(static_cast<size_t>(n) <= max_rows_);
  return n;
}

void Attention::attend(Exec& exec, const AttentionQuery& query, const Segment& segment, int layer,
                       const LayerShape& shape, int window) {
  const bool many = segment.n >= 2 * exec.pool().n_threads();
  const int group = many ? query.n_heads : std::min(kHeadGroup, query.n_heads);
  const int n_groups = (query.n_heads + group - 1) / group;
  exec.parallel(segment.n * n_groups, [&](int item, int thread) {
    const int t = item / n_groups;
    const int head = item % n_groups * group;
    const float** const rows = rows_ + static_cast<size_t>(thread) * max_rows_;
    const int n_rows = gather(query, segment, layer, shape, window, t, rows);
    const size_t at =
        (static_cast<size_t>(t) * static_cast<size_t>(query.n_heads) + static_cast<size_t>(head)) *
        static_cast<size_t>(query.head_dim);
    exec.ops().attend({query.q + at, std::min(group, query.n_heads - head), query.head_dim, rows,
                       n_rows, query.scale, query.sinks + head, query.out + at,
                       exec.workspace(thread)});
  });
}

void keep_window_rows(const Segment& segment, int layer, const LayerShape& shape, int window,
                      const float* rows) {
  const auto dim = static_cast<size_t>(shape.head_dim);
  for (int t = std::max(0, segment.n - window); t < segment.n; ++t) {
    std::memcpy(segment.sequence->window_row(layer, segment.start + t),
                rows + static_cast<size_t>(t) * dim, dim * sizeof(float));
  }
}

}  // namespace varve
