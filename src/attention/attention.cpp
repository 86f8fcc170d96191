#include "attention/attention.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace varve {
namespace {

// Heads of one work item at least.
constexpr int kMinHeadGroup = 4;

}  // namespace

void Attention::lay_out(ArenaBuilder& arena, int n_threads, int max_rows) {
  max_rows_ = static_cast<size_t>(max_rows);
  rows_ = arena.take<AttendRow>("attention row lists", static_cast<size_t>(n_threads) * max_rows_);
}

int Attention::gather(const AttentionQuery& query, const Segment& segment, int layer, int t,
                      AttendRow* rows) const {
  const CacheLayout& layout = segment.sequence->layout();
  const LayerShape& shape = layout.shape.layers[static_cast<size_t>(layer)];
  const size_t window_bytes = layout.layers[static_cast<size_t>(layer)].window_bytes;
  const int pos = segment.start + t;
  int n = 0;
  for (int p = std::max(0, pos - layout.shape.window + 1); p <= pos; ++p) {
    rows[n++] = {p >= segment.start
                     ? query.window_rows + static_cast<size_t>(p - segment.start) * window_bytes
                     : segment.sequence->window_row(layer, p),
                 layout.formats.window};
  }
  const size_t exact_bytes = layout.layers[static_cast<size_t>(layer)].latent_exact.row_bytes;
  const auto take_entry = [&](int w) {
    const bool exact = exact_bytes > 0 &&
                       (w < layout.formats.sink_tokens || w > pos - layout.formats.recent_tokens);
    if (!exact) {
      rows[n++] = {segment.sequence->entry(layer, w), layout.formats.entries(shape.kind)};
    } else if (w >= segment.start) {
      rows[n++] = {query.window_rows + static_cast<size_t>(w - segment.start) * exact_bytes,
                   RowFormat::bf16};
    } else {
      rows[n++] = {segment.sequence->exact_latent(layer, w), RowFormat::bf16};
    }
  };
  if (shape.is_picked()) {
    const int32_t* const picks =
        query.picks + static_cast<size_t>(t) * static_cast<size_t>(query.topk);
    for (int i = 0; i < query.counts[t]; ++i) take_entry(picks[i]);
  } else if (shape.ratio > 0) {
    for (int w = 0; w < (pos + 1) / shape.ratio; ++w) take_entry(w);
  }
  assert(static_cast<size_t>(n) <= max_rows_);
  return n;
}

void Attention::attend(Exec& exec, const AttentionQuery& query, const Segment& segment, int layer) {
  const LayerShape& shape = segment.sequence->layout().shape.layers[static_cast<size_t>(layer)];
  // With few queries the heads are what there is to split; a group decodes every row anew, so
  // groups are as large as there are threads for.
  const int n_threads = exec.pool().n_threads();
  const bool many = segment.n >= 2 * n_threads;
  const int group = many ? query.n_heads
                         : std::max(std::min(kMinHeadGroup, query.n_heads),
                                    (query.n_heads + n_threads - 1) / n_threads);
  const int n_groups = (query.n_heads + group - 1) / group;
  exec.parallel(segment.n * n_groups, [&](int item, int thread) {
    const int t = item / n_groups;
    const int head = item % n_groups * group;
    AttendRow* const rows = rows_ + static_cast<size_t>(thread) * max_rows_;
    const int n_rows = gather(query, segment, layer, t, rows);
    const size_t at =
        (static_cast<size_t>(t) * static_cast<size_t>(query.n_heads) + static_cast<size_t>(head)) *
        static_cast<size_t>(query.head_dim);
    exec.ops().attend({.q = query.q + at,
                       .n_heads = std::min(group, query.n_heads - head),
                       .head_dim = query.head_dim,
                       .rope_dim = shape.rope_dim,
                       .rows = rows,
                       .n_rows = n_rows,
                       .scale = query.scale,
                       .sinks = query.sinks + head,
                       .out = query.out + at,
                       .products = exec.products(),
                       .workspace = exec.workspace(thread)});
  });
}

void keep_window_rows(const Segment& segment, int layer, const std::byte* rows) {
  const CacheLayout& layout = segment.sequence->layout();
  const size_t bytes = layout.layers[static_cast<size_t>(layer)].window_bytes;
  for (int t = std::max(0, segment.n - layout.shape.window); t < segment.n; ++t) {
    std::memcpy(segment.sequence->window_row(layer, segment.start + t),
                rows + static_cast<size_t>(t) * bytes, bytes);
  }
}

void keep_exact_latents(const Segment& segment, int layer, const std::byte* rows) {
  const CacheLayout& layout = segment.sequence->layout();
  const size_t bytes = layout.layers[static_cast<size_t>(layer)].latent_exact.row_bytes;
  const int newest = segment.n - layout.formats.recent_tokens;
  for (int t = 0; t < segment.n; ++t) {
    const int pos = segment.start + t;
    if (t < newest && pos >= layout.formats.sink_tokens) continue;
    std::memcpy(segment.sequence->exact_latent(layer, pos), rows + static_cast<size_t>(t) * bytes,
                bytes);
  }
}

}  // namespace varve
