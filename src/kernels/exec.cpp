#include "kernels/exec.h"

#include <algorithm>
#include <array>
#include <cassert>

namespace varve {
namespace {

// Rows of a weight that one work item computes: enough to amortise decoding set-up, few enough
// that two threads finish together.
constexpr int kItemRows = 32;

int n_items(const LinearJob& job) { return (job.weight->n_rows + kItemRows - 1) / kItemRows; }

}  // namespace

void Exec::lay_out(ArenaBuilder& arena, size_t max_inputs) {
  workspace_ = arena.take<float>("workspace", static_cast<size_t>(pool_.n_threads()) * kWorkspaceFloats);
  max_inputs_ = products_ == Products::bf16 ? max_inputs : 0;
  rounded_ = arena.take<float>("rounded inputs", max_inputs_);
}

void Exec::linear(const Weight& weight, const float* x, int n_tokens, float* y) {
  const LinearJob job{&weight,  x, static_cast<size_t>(weight.n_cols), n_tokens, y,
                      static_cast<size_t>(weight.n_rows)};
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
  std::array<LinearJob, kMaxJobs> ready;
  std::array<int, kMaxJobs + 1> first_item;
  first_item[0] = 0;
  size_t used = 0;
  for (size_t j = 0; j < jobs.size(); ++j) {
    ready[j] = jobs[j];
    first_item[j + 1] = first_item[j] + (jobs[j].n_tokens > 0 ? n_items(jobs[j]) : 0);
    if (products_ == Products::f32) continue;
    if (j > 0 && jobs[j].x == jobs[j - 1].x && jobs[j].n_tokens == jobs[j - 1].n_tokens &&
        jobs[j].weight->n_cols == jobs[j - 1].weight->n_cols) {
      ready[j].x = ready[j - 1].x;
      ready[j].x_stride = ready[j - 1].x_stride;
      continue;
    }
    const auto n_cols = static_cast<size_t>(jobs[j].weight->n_cols);
    float* const rounded = rounded_ + used;
    used += static_cast<size_t>(jobs[j].n_tokens) * n_cols;
    assert(used <= max_inputs_);
    pool_.run(jobs[j].n_tokens, [&](int t, int) {
      const float* const from = jobs[j].x + static_cast<size_t>(t) * jobs[j].x_stride;
      float* const to = rounded + static_cast<size_t>(t) * n_cols;
      for (size_t c = 0; c < n_cols; ++c) to[c] = round_to_bf16(from[c]);
    });
    ready[j].x = rounded;
    ready[j].x_stride = n_cols;
  }
  pool_.run(first_item[jobs.size()], [&](int item, int thread) {
    size_t j = 0;
    while (item >= first_item[j + 1]) ++j;
    const LinearJob& job = ready[j];
    const int begin = (item - first_item[j]) * kItemRows;
    kernels_.linear({job.weight, begin, std::min(begin + kItemRows, job.weight->n_rows), job.x,
                     job.x_stride, job.n_tokens, job.y, job.y_stride, workspace(thread)});
  });
}

void Exec::round_inputs(float* values, size_t n) const {
  if (products_ == Products::f32) return;
  for (size_t i = 0; i < n; ++i) values[i] = round_to_bf16(values[i]);
}

}  // namespace varve
