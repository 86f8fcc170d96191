#include "attention/attention.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>

namespace varve {
namespace {

// Heads of one work item at least.
constexpr int kMinHeadGroup = 4;
// Heads that a thread takes through all parts at once.
constexpr int kMaxHeadGroup = 32;
// Rows of a part, up to the most parts that there are: then parts grow. A power of two of them is
// easy to share out.
constexpr int kPartRows = 1024;
constexpr int kMaxParts = 16;
constexpr size_t kMaxPartialBytes = size_t{1} << 20;  // of all parts of one query

size_t product(int a, int b) {
  return static_cast<size_t>(a) * static_cast<size_t>(b);
}

// How n rows are cut.
struct Cut {
  Cut(int n, int n_heads, int head_dim) : n_rows(n) {
    const size_t bytes = product(n_heads, head_dim) * sizeof(float);
    while (n > most_parts * kPartRows && most_parts < kMaxParts &&
           2 * static_cast<size_t>(most_parts) * bytes <= kMaxPartialBytes) {
      most_parts *= 2;
    }
    rows = (n + most_parts - 1) / most_parts;
    rows = (rows + kAttendTile - 1) / kAttendTile * kAttendTile;
    n_parts = (n + rows - 1) / rows;
  }
  int begin(int part) const { return part * rows; }
  int end(int part) const { return std::min(n_rows, begin(part + 1)); }

  int n_rows;
  int most_parts = 1;  // of as many rows or fewer
  int rows;            // of each part but the last
  int n_parts;         // fewer than most_parts where parts of whole tiles hold all rows
};

}  // namespace

// Token t of a segment, and what it sees: window rows, then entries.
struct Attention::Query {
  Query(const AttentionQuery& query, const Segment& of, int at_layer, int token)
      : all(query),
        segment(of),
        layer(at_layer),
        t(token),
        cut(n_in_window() + n_entries(), query.n_heads, query.head_dim) {}

  const CacheLayout& layout() const { return segment.sequence->layout(); }
  const LayerShape& shape() const { return layout().shape.layers[static_cast<size_t>(layer)]; }
  const LayerLayout& layer_layout() const { return layout().layers[static_cast<size_t>(layer)]; }
  int position() const { return segment.start + t; }
  int first_in_window() const { return std::max(0, position() - layout().shape.window + 1); }
  int n_in_window() const { return position() + 1 - first_in_window(); }
  int n_entries() const {
    if (shape().is_picked()) return all.counts[t];
    return shape().ratio > 0 ? (position() + 1) / shape().ratio : 0;
  }
  size_t at(int head) const { return product(t * all.n_heads + head, all.head_dim); }

  // Row i of those seen.
  AttendRow row(int i) const {
    if (i < n_in_window()) {
      const int pos = first_in_window() + i;
      return {pos >= segment.start ? own(pos, layer_layout().window_bytes)
                                   : segment.sequence->window_row(layer, pos),
              layout().formats.window};
    }
    const int nth = i - n_in_window();
    const int w =
        shape().is_picked() ? all.picks[product(t, all.topk) + static_cast<size_t>(nth)] : nth;
    const PoolFormats& formats = layout().formats;
    const size_t exact_bytes = layer_layout().latent_exact.row_bytes;
    const bool exact =
        exact_bytes > 0 && (w < formats.sink_tokens || w > position() - formats.recent_tokens);
    if (!exact) return {segment.sequence->entry(layer, w), formats.entries(shape().kind)};
    return {w >= segment.start ? own(w, exact_bytes) : segment.sequence->exact_latent(layer, w),
            RowFormat::bf16};
  }

  const AttentionQuery& all;
  const Segment& segment;
  int layer;
  int t;
  Cut cut;

 private:
  const std::byte* own(int pos, size_t bytes) const {
    return all.window_rows + static_cast<size_t>(pos - segment.start) * bytes;
  }
};

void Attention::lay_out(ArenaBuilder& arena, int n_threads, int n_heads, int head_dim,
                        int max_rows) {
  const Cut most(max_rows, n_heads, head_dim);
  room_ = static_cast<size_t>(most.most_parts > 1 ? std::max(most.rows, kPartRows) : max_rows);
  rows_ = arena.take<AttendRow>("attention row lists", static_cast<size_t>(n_threads) * room_);
  threads_.clear();
  parts_ = {};
  if (most.most_parts == 1) return;
  for (int i = 0; i < 2 * n_threads; ++i) {
    threads_.push_back(Partial::take(arena, "attention of threads",
                                     static_cast<size_t>(std::min(kMaxHeadGroup, n_heads)),
                                     head_dim));
  }
  parts_ = Partial::take(arena, "attention partials", product(most.most_parts, n_heads), head_dim);
}

// Heads [head, head + n_heads) over one part; into `to`, which is theirs, or where that is null, as
// there is but one part, into the output.
void Attention::run_part(Exec& exec, const Query& query, int part, int head, int n_heads,
                         const Partial* to, int thread) {
  const int begin = query.cut.begin(part), n_rows = query.cut.end(part) - begin;
  assert(static_cast<size_t>(n_rows) <= room_);
  AttendRow* const rows = rows_ + static_cast<size_t>(thread) * room_;
  for (int i = 0; i < n_rows; ++i) rows[i] = query.row(begin + i);
  const AttentionQuery& all = query.all;
  exec.ops().attend({.q = all.q + query.at(head),
                     .n_heads = n_heads,
                     .head_dim = all.head_dim,
                     .rope_dim = query.shape().rope_dim,
                     .rows = rows,
                     .n_rows = n_rows,
                     .scale = all.scale,
                     .sinks = all.sinks + head,
                     .out = to == nullptr ? all.out + query.at(head) : to->values,
                     .products = exec.products(),
                     .workspace = exec.workspace(thread),
                     .max = to == nullptr ? nullptr : to->max,
                     .sum = to == nullptr ? nullptr : to->sum});
}

// The output of heads [head, head + n_heads) from what all parts leave of them.
void Attention::finish(const Query& query, const Partial& from, int head, int n_heads) {
  const auto dim = static_cast<size_t>(query.all.head_dim);
  for (int i = 0; i < n_heads; ++i) {
    const auto h = static_cast<size_t>(i);
    const float denominator = from.sum[h] + std::exp(query.all.sinks[head + i] - from.max[h]);
    const float* const values = from.values + h * dim;
    float* const out = query.all.out + query.at(head + i);
    for (size_t d = 0; d < dim; ++d) out[d] = values[d] / denominator;
  }
}

// One query on one thread.
void Attention::attend_whole(Exec& exec, const Query& query, int thread) {
  const AttentionQuery& all = query.all;
  if (query.cut.n_parts == 1) {
    run_part(exec, query, 0, 0, all.n_heads, nullptr, thread);
    return;
  }
  const Partial& one = threads_[static_cast<size_t>(2 * thread)];
  const Partial& before = threads_[static_cast<size_t>(2 * thread + 1)];
  for (int head = 0; head < all.n_heads; head += kMaxHeadGroup) {
    const int n = std::min(kMaxHeadGroup, all.n_heads - head);
    run_part(exec, query, 0, head, n, &before, thread);
    for (int part = 1; part < query.cut.n_parts; ++part) {
      run_part(exec, query, part, head, n, &one, thread);
      merge(one, before, static_cast<size_t>(n), all.head_dim);
    }
    finish(query, before, head, n);
  }
}

// One query on all threads. Where there are fewer parts than threads its heads are split too; a
// group of heads decodes every row anew, so groups are as large as there are threads for.
void Attention::attend_split(Exec& exec, const Query& query) {
  const int n_heads = query.all.n_heads, n_parts = query.cut.n_parts;
  const int wanted = (exec.pool().n_threads() + n_parts - 1) / n_parts;
  const int group = std::max(std::min(kMinHeadGroup, n_heads), (n_heads + wanted - 1) / wanted);
  const int n_groups = (n_heads + group - 1) / group;
  const auto partial = [&](int part, int head) {
    return parts_.from(product(part, n_heads) + static_cast<size_t>(head), query.all.head_dim);
  };
  exec.parallel(n_parts * n_groups, [&](int item, int thread) {
    const int part = item / n_groups, head = item % n_groups * group;
    const Partial to = n_parts == 1 ? Partial{} : partial(part, head);
    run_part(exec, query, part, head, std::min(group, n_heads - head), n_parts == 1 ? nullptr : &to,
             thread);
  });
  if (n_parts == 1) return;
  exec.parallel((n_heads + kMinHeadGroup - 1) / kMinHeadGroup, [&](int item, int) {
    const int head = item * kMinHeadGroup, n = std::min(kMinHeadGroup, n_heads - head);
    const Partial all = partial(0, head);
    for (int part = 1; part < n_parts; ++part) {
      merge(partial(part, head), all, static_cast<size_t>(n), query.all.head_dim);
    }
    finish(query, all, head, n);
  });
}

void Attention::attend(Exec& exec, const AttentionQuery& query, const Segment& segment, int layer) {
  if (segment.n >= 2 * exec.pool().n_threads()) {
    exec.parallel(segment.n, [&](int t, int thread) {
      attend_whole(exec, Query(query, segment, layer, t), thread);
    });
    return;
  }
  for (int t = 0; t < segment.n; ++t) attend_split(exec, Query(query, segment, layer, t));
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
