// What a step's matrices take of time, each measured by its type and shape.
#pragma once

#include "kernels/exec.h"
#include "models/model.h"

namespace varve {

/// Measures matrices over memory that no cache holds. Takes kBytes of it until it is destroyed.
class MatrixTimer {
 public:
  static constexpr size_t kBytes = size_t{256} << 20;

  /// Error (usage): there is not the memory.
  static Result<MatrixTimer> create(const Kernels& kernels, ThreadPool& pool, Products products);

  /// Seconds of all matrices of a step of n_tokens with logits of the last, experts as many as are
  /// expected to be needed. Error (usage): there is not the memory for inputs and outputs.
  Result<double> step_seconds(const Model& model, int n_tokens);

 private:
  explicit MatrixTimer(Arena memory, const Kernels& kernels, ThreadPool& pool, Products products);
  Result<double> seconds_of(const Weight& shape, int n_tokens);

  Arena memory_;
  const Kernels* kernels_;
  ThreadPool* pool_;
  Products products_;
  size_t at_ = 0;  // where the next matrix is laid
};

}  // namespace varve
