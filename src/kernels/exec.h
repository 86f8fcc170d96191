// Runs the ops of one kernel set over a team of threads.
#pragma once

#include <span>
#include <string_view>

#include "base/arena.h"
#include "base/thread_pool.h"
#include "kernels/kernels.h"

namespace varve {

/// One linear layer over a batch. Both strides are in floats.
struct LinearJob {
  const Weight* weight;
  const float* x;  // [n_tokens, n_cols]
  size_t x_stride;
  int n_tokens;
  float* y;  // [n_tokens, n_rows]
  size_t y_stride;
};

class Exec {
 public:
  Exec(const Kernels& kernels, ThreadPool& pool, Products products)
      : kernels_(kernels), pool_(pool), products_(products) {}

  /// Takes one workspace a thread, and room to round inputs to bf16 or groups: `max_inputs` values,
  /// the most that the inputs of one call of linear() hold.
  void lay_out(ArenaBuilder& arena, size_t max_inputs);

  const Kernels& ops() const { return kernels_; }
  ThreadPool& pool() { return pool_; }
  Products products() const { return products_; }
  float* workspace(int thread) {
    return workspace_ + static_cast<size_t>(thread) * kWorkspaceFloats;
  }

  /// y = x weight^T for dense x [n_tokens, n_cols] and y [n_tokens, n_rows].
  void linear(const Weight& weight, const float* x, int n_tokens, float* y);
  /// Several at once, in one parallel loop: outputs must not overlap.
  void linear(std::span<const LinearJob> jobs);

  /// body(item, thread) for each item in [0, n).
  template <class Body>
  void parallel(int n, Body&& body) {
    pool_.run(n, body);
  }

 private:
  static constexpr int kMaxJobs = 64;  // of one parallel loop; more are run in turns

  /// Whether its inputs are rounded to groups. Jobs that differ in it are run in turns, as inputs
  /// that they share would be rounded twice, and there is room for once.
  bool takes_groups(const LinearJob& job) const;
  void run_jobs(std::span<const LinearJob> jobs, bool groups);

  const Kernels& kernels_;
  ThreadPool& pool_;
  Products products_;
  float* workspace_ = nullptr;
  std::byte* rounded_ = nullptr;  // bf16 or InputGroup
  size_t rounded_bytes_ = 0;
};

}  // namespace varve
