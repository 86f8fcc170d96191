// The forward pass of DeepSeek-V2, V3 and V3.2, and the memory it works in.
#pragma once

#include "attention/attention.h"
#include "attention/indexer.h"
#include "models/decoder_runner.h"
#include "models/experts.h"
#include "models/mla/model.h"

namespace varve::mla {

class ForwardPass final : public SingleStreamRunner {
 public:
  ForwardPass(const Mla& model, ArenaBuilder& arena, Exec& exec, const RunnerOptions& options);

  void forward(const Batch& batch) override;

 private:
  void attention(const Batch& batch, int layer);
  void queries_and_rows(const Batch& batch, int layer);
  void turn_heads(int t);
  void pick(const Batch& batch, int layer);
  void route(int n, int layer);
  void per_head(const std::vector<Weight>& heads, const float* x, int x_dim, float* y, int y_dim,
                int n);

  const Mla& model_;
  const Config& config_;
  const PoolFormats formats_;
  const bool turned_;         // latents, and what meets them, by a Hadamard matrix
  const int exact_bytes_;     // of a latent's bf16 row
  std::vector<float> sinks_;  // [n_heads]: none takes anything
  ExpertRunner experts_;
  Attention attention_;
  Indexer indexer_;
  // n = max_tokens
  float* qr_;        // [n, q_lora_rank]
  float* q_;         // [n, n_heads * qk_dim]
  float* latent_;    // [n, latent_dim]: cached rows as computed
  float* absorbed_;  // [n, n_heads * latent_dim]: queries that meet rows, then what they gather
  std::byte* exact_rows_ = nullptr;  // [max_tokens]: bf16 rows beside quantised latents
  float* values_;                    // [n, n_heads * v_dim]
  float* index_key_;                 // [n, index_head_dim]
  float* index_q_;                   // [n, index_n_heads * index_head_dim]
  float* index_weights_;             // [n, index_n_heads]
  int topk_;                         // picks of a token at most
  int32_t* picks_;                   // [n, topk]
  int32_t* counts_;                  // [n]
  float* router_;                    // [n, n_experts]
  float* masked_;  // [n, n_experts]: biases, -inf for experts that are out of the question
};

}  // namespace varve::mla
