// The Llama line's forward pass and the memory it works in.
#pragma once

#include "attention/kv_attention.h"
#include "models/llama/model.h"

namespace varve::llama {

class ForwardPass final : public Runner {
 public:
  ForwardPass(const Llama& model, ArenaBuilder& arena, Exec& exec, const RunnerOptions& options);

  void forward(const Batch& batch) override;
  void logits(std::span<const int32_t> rows, float* out) override;
  void logits_of_newest(const Sequence& sequence, float* out) override;

 private:
  void embed(const Batch& batch);
  void attention(const Batch& batch, int layer);
  void mlp(int n, int layer);
  void add(int n);
  void norm(int n, const std::vector<float>& weight, float* out);

  const Llama& model_;
  const Config& config_;
  Exec& exec_;
  KvAttention attention_;
  // n = max_tokens
  float* stream_;  // [n, d]: the residual stream
  float* x_;       // [n, d]: input of a sub-layer; of the last one: the hidden state
  float* y_;       // [n, d]: output of a sub-layer
  float* q_;       // [n, n_heads * head_dim]: queries, then attention's output
  float* k_;       // [n, n_kv_heads * head_dim]
  float* v_;       // [n, n_kv_heads * head_dim]
  float* gate_;    // [n, mlp_dim]
  float* up_;      // [n, mlp_dim]
  float* cos_;     // [n, head_dim / 2]
  float* sin_;     // [n, head_dim / 2]
  float* head_x_;  // [kMaxLogitRows, d]
};

}  // namespace varve::llama
