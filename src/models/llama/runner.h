// The Llama line's forward pass and the memory it works in.
#pragma once

#include "attention/kv_attention.h"
#include "models/decoder_runner.h"
#include "models/llama/model.h"

namespace varve::llama {

class ForwardPass final : public SingleStreamRunner {
 public:
  ForwardPass(const Llama& model, ArenaBuilder& arena, Exec& exec, const RunnerOptions& options);

  void forward(const Batch& batch) override;

 private:
  void attention(const Batch& batch, int layer);

  const Llama& model_;
  const Config& config_;
  KvAttention attention_;
  // n = max_tokens
  float* q_;  // [n, n_heads * head_dim]: queries, then attention's output
  float* k_;  // [n, n_kv_heads * head_dim]
  float* v_;  // [n, n_kv_heads * head_dim]
};

}  // namespace varve::llama
