// The forward pass of DeepSeek-V2, V3 and V3.2, and the memory it works in.
#pragma once

#include "attention/attention.h"
#include "attention/indexer.h"
#include "models/experts.h"
#include "models/mla/model.h"

namespace varve::mla {

class ForwardPass final : public Runner {
 public:
  ForwardPass(const Mla& model, ArenaBuilder& arena, Exec& exec, const RunnerOptions& options);

  void forward(const Batch& batch) override;
  void logits(std::span<const int32_t> rows, float* out) override;
  void logits_of_newest(const Sequence& sequence, float* out) override;

 private:
  void embed(const Batch& batch);
  void attention(const Batch& batch, int layer);
  void queries_and_rows(const Batch& batch, int layer);
  void pick(const Batch& batch, int layer);
  void dense(int n, int layer);
  void route(int n, int layer);
  void per_head(const std::vector<Weight>& heads, const float* x, int x_dim, float* y, int y_dim,
                int n);
  void add(int n);
  void norm(int n, const std::vector<float>& weight, float* out);

  const Mla& model_;
  const Config& config_;
  Exec& exec_;
  const PoolFormats formats_;
  std::vector<float> sinks_;  // [n_heads]: none takes anything
  ExpertRunner experts_;
  Attention attention_;
  Indexer indexer_;
  // n = max_tokens
  float* stream_;     // [n, d]: the residual stream
  float* x_;          // [n, d]: input of a sub-layer; of the last one: the hidden state
  float* y_;          // [n, d]: output of a sub-layer
  float* qr_;         // [n, q_lora_rank]
  float* q_;          // [n, n_heads * qk_dim]
  float* latent_;     // [n, latent_dim]: cached rows as computed
  float* absorbed_;   // [n, n_heads * latent_dim]: queries that meet rows, then what they gather
  float* values_;     // [n, n_heads * v_dim]
  float* index_key_;  // [n, index_head_dim]
  float* index_q_;    // [n, index_n_heads * index_head_dim]
  float* index_weights_;  // [n, index_n_heads]
  int32_t* picks_;        // [n, index_topk]
  int32_t* counts_;       // [n]
  float* gate_;           // [n, mlp_dim]
  float* up_;             // [n, mlp_dim]
  float* router_;         // [n, n_experts]
  float* masked_;         // [n, n_experts]: biases, -inf for experts that are out of the question
  float* cos_;            // [n, rope_dim / 2]
  float* sin_;            // [n, rope_dim / 2]
  float* head_x_;         // [kMaxLogitRows, d]
};

}  // namespace varve::mla
