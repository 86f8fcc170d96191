#include "kernels/exec.h"

#include <algorithm>
#include <array>
#include <cassert>

namespace varve {
namespace {

// Rows of a weight that one work item computes. With several tokens it is one panel of the kernels
// (more only means that a thread waits longer for the other at the end).
constexpr int kPanelRows = 32;
// Rows that kernels work on side by side with one token.
constexpr int kFewRows = 4;
constexpr int kFewBlockRows = 16;  // of block types
// Where the rounded inputs of a job begin.
constexpr size_t kRoundedAlign = 64;
// With one token an item wants enough bytes for its reads to run ahead, and the last items few
// enough that no thread waits long for another. Both by `varve bench` on flash-6l.
constexpr size_t kItemBytes = size_t{512} << 10;
constexpr size_t kLastItemBytes = size_t{96} << 10;

// Rows of about so many bytes: whole panels, or the few that long rows leave room for.
int rows_of_bytes(const Weight& w, size_t bytes) {
  const auto rows =
      static_cast<int>(std::min<size_t>(bytes / std::max<size_t>(1, w.row_bytes), 1 << 20));
  const int few = dtype_is_block(w.type) ? kFewBlockRows : kFewRows;
  const int unit = rows >= kPanelRows ? kPanelRows : few;
  return std::max(1, rows / unit) * unit;
}

// How the rows of one job are cut: n_items of `rows` each, but for those behind the first n_large,
// which have last_rows.
struct Cut {
  Cut() = default;
  Cut(const LinearJob& job, int n_threads, bool last_job) {
    const Weight& w = *job.weight;
    n_rows = job.n_tokens > 0 ? w.n_rows : 0;
    rows = last_rows = job.n_tokens == 1 ? rows_of_bytes(w, kItemBytes) : kPanelRows;
    if (job.n_tokens == 1 && last_job) last_rows = rows_of_bytes(w, kLastItemBytes);
    n_large = std::max(0, n_rows / rows - n_threads);
    n_items = n_large + (n_rows - n_large * rows + last_rows - 1) / last_rows;
  }
  int begin(int item) const {
    return item <= n_large ? item * rows : n_large * rows + (item - n_large) * last_rows;
  }
  int end(int item) const { return std::min(begin(item + 1), n_rows); }

  int n_rows = 0, n_items = 0, n_large = 0, rows = 0, last_rows = 0;
};

}  // namespace

void Exec::lay_out(ArenaBuilder& arena, size_t max_inputs) {
  workspace_ =
      arena.take<float>("workspace", static_cast<size_t>(pool_.n_threads()) * kWorkspaceFloats);
  // A group is more than its values in bf16.
  static_assert(sizeof(InputGroup) > InputGroup::kSize * sizeof(uint16_t));
  rounded_bytes_ =
      products_ == Products::f32
          ? 0
          : max_inputs * sizeof(InputGroup) / InputGroup::kSize + kMaxJobs * kRoundedAlign;
  rounded_ = arena.take<std::byte>("rounded inputs", rounded_bytes_);
}

void Exec::linear(const Weight& weight, const float* x, int n_tokens, float* y) {
  const LinearJob job{&weight,  x, static_cast<size_t>(weight.n_cols),
                      n_tokens, y, static_cast<size_t>(weight.n_rows)};
  linear({&job, 1});
}

void Exec::linear(std::span<const LinearJob> jobs) {
  while (!jobs.empty()) {
    const bool groups = takes_groups(jobs.front());
    size_t now = 1;
    while (now < std::min<size_t>(jobs.size(), kMaxJobs) && takes_groups(jobs[now]) == groups) {
      ++now;
    }
    run_jobs(jobs.first(now), groups);
    jobs = jobs.subspan(now);
  }
}

bool Exec::takes_groups(const LinearJob& job) const {
  return products_ == Products::bf16 && kernels_.linear_blocks != nullptr &&
         dtype_is_block(job.weight->type);
}

void Exec::run_jobs(std::span<const LinearJob> jobs, bool groups) {
  struct Rounded {
    const std::byte* x;
    size_t stride;  // in numbers or groups
  };
  std::array<Rounded, kMaxJobs> rounded;
  std::array<Cut, kMaxJobs> cuts;
  std::array<int, kMaxJobs + 1> first_item;
  first_item[0] = 0;
  size_t used = 0;
  for (size_t j = 0; j < jobs.size(); ++j) {
    const LinearJob& job = jobs[j];
    cuts[j] = Cut(job, pool_.n_threads(), j + 1 == jobs.size());
    first_item[j + 1] = first_item[j] + cuts[j].n_items;
    if (products_ == Products::f32) continue;
    if (j > 0 && job.x == jobs[j - 1].x && job.x_stride == jobs[j - 1].x_stride &&
        job.n_tokens == jobs[j - 1].n_tokens && job.weight->n_cols == jobs[j - 1].weight->n_cols) {
      rounded[j] = rounded[j - 1];
      continue;
    }
    const auto n_cols = static_cast<size_t>(job.weight->n_cols);
    const size_t stride = groups ? n_cols / InputGroup::kSize : n_cols;
    const size_t row_bytes = stride * (groups ? sizeof(InputGroup) : sizeof(uint16_t));
    std::byte* const to = rounded_ + used;
    const size_t bytes = static_cast<size_t>(job.n_tokens) * row_bytes;
    used += (bytes + kRoundedAlign - 1) / kRoundedAlign * kRoundedAlign;
    assert(used <= rounded_bytes_);
    pool_.run(job.n_tokens, [&](int t, int) {
      const float* const x = job.x + static_cast<size_t>(t) * job.x_stride;
      std::byte* const row = to + static_cast<size_t>(t) * row_bytes;
      if (groups) {
        kernels_.group_inputs(x, n_cols, reinterpret_cast<InputGroup*>(row));
      } else {
        kernels_.round_bf16(x, n_cols, reinterpret_cast<uint16_t*>(row));
      }
    });
    rounded[j] = {to, stride};
  }
  pool_.run(first_item[jobs.size()], [&](int item, int thread) {
    size_t j = 0;
    while (item >= first_item[j + 1]) ++j;
    const LinearJob& job = jobs[j];
    const int begin = cuts[j].begin(item - first_item[j]);
    const int end = cuts[j].end(item - first_item[j]);
    const Rounded& in = rounded[j];
    if (products_ == Products::f32) {
      kernels_.linear({job.weight, begin, end, job.x, job.x_stride, job.n_tokens, job.y,
                       job.y_stride, workspace(thread)});
    } else if (groups) {
      kernels_.linear_blocks({job.weight, begin, end, reinterpret_cast<const InputGroup*>(in.x),
                              in.stride, job.n_tokens, job.y, job.y_stride, workspace(thread)});
    } else {
      kernels_.linear_bf16({job.weight, begin, end, reinterpret_cast<const uint16_t*>(in.x),
                            in.stride, job.n_tokens, job.y, job.y_stride, workspace(thread)});
    }
  });
}

}  // namespace varve
