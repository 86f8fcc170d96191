#include "kernels/exec.h"

#include <algorithm>
#include <array>
#include <cassert>

namespace varve {
namespace {

// Rows of a weight that one work item computes. With one token an item wants enough bytes for its
// reads to run ahead; with several it is one panel of the kernels (more only means that a
// thread waits longer for the other at the end).
constexpr int kItemRows = 32;
constexpr size_t kItemBytes = size_t{512} << 10;

int item_rows(const LinearJob& job, int n_threads) {
  if (job.n_tokens > 1) return kItemRows;
  const size_t row_bytes = std::max<size_t>(1, job.weight->row_bytes);
  const auto wanted = static_cast<int>(std::min<size_t>(kItemBytes / row_bytes, 1024));
  const int fair = job.weight->n_rows / (4 * n_threads);  // at least four items a thread
  return std::max(kItemRows, std::min(wanted, fair) / kItemRows * kItemRows);
}

}  // namespace

void Exec::lay_out(ArenaBuilder& arena, size_t max_inputs) {
  workspace_ =
      arena.take<float>("workspace", static_cast<size_t>(pool_.n_threads()) * kWorkspaceFloats);
  max_inputs_ = products_ == Products::bf16 ? max_inputs : 0;
  rounded_ = arena.take<uint16_t>("rounded inputs", max_inputs_);
}

void Exec::linear(const Weight& weight, const float* x, int n_tokens, float* y) {
  const LinearJob job{&weight,  x, static_cast<size_t>(weight.n_cols),
                      n_tokens, y, static_cast<size_t>(weight.n_rows)};
  linear({&job, 1});
}

void Exec::linear(std::span<const LinearJob> jobs) {
  while (!jobs.empty()) {
    const size_t now = std::min<size_t>(jobs.size(), kMaxJobs);
    run_jobs(jobs.first(now));
    jobs = jobs.subspan(now);
  }
}

void Exec::run_jobs(std::span<const LinearJob> jobs) {
  struct Rounded {
    const uint16_t* x;
    size_t stride;
  };
  std::array<Rounded, kMaxJobs> rounded;
  std::array<int, kMaxJobs> rows_of_item;
  std::array<int, kMaxJobs + 1> first_item;
  first_item[0] = 0;
  size_t used = 0;
  for (size_t j = 0; j < jobs.size(); ++j) {
    const LinearJob& job = jobs[j];
    const int rows = rows_of_item[j] = item_rows(job, pool_.n_threads());
    first_item[j + 1] =
        first_item[j] + (job.n_tokens > 0 ? (job.weight->n_rows + rows - 1) / rows : 0);
    if (products_ == Products::f32) continue;
    if (j > 0 && job.x == jobs[j - 1].x && job.x_stride == jobs[j - 1].x_stride &&
        job.n_tokens == jobs[j - 1].n_tokens && job.weight->n_cols == jobs[j - 1].weight->n_cols) {
      rounded[j] = rounded[j - 1];
      continue;
    }
    const auto n_cols = static_cast<size_t>(job.weight->n_cols);
    uint16_t* const to = rounded_ + used;
    used += static_cast<size_t>(job.n_tokens) * n_cols;
    assert(used <= max_inputs_);
    pool_.run(job.n_tokens, [&](int t, int) {
      kernels_.round_bf16(job.x + static_cast<size_t>(t) * job.x_stride, n_cols,
                          to + static_cast<size_t>(t) * n_cols);
    });
    rounded[j] = {to, n_cols};
  }
  pool_.run(first_item[jobs.size()], [&](int item, int thread) {
    size_t j = 0;
    while (item >= first_item[j + 1]) ++j;
    const LinearJob& job = jobs[j];
    const int begin = (item - first_item[j]) * rows_of_item[j];
    const int end = std::min(begin + rows_of_item[j], job.weight->n_rows);
    if (products_ == Products::f32) {
      kernels_.linear({job.weight, begin, end, job.x, job.x_stride, job.n_tokens, job.y,
                       job.y_stride, workspace(thread)});
    } else {
      kernels_.linear_bf16({job.weight, begin, end, rounded[j].x, rounded[j].stride, job.n_tokens,
                            job.y, job.y_stride, workspace(thread)});
    }
  });
}

}  // namespace varve
