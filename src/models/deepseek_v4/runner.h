// DeepSeek-V4's forward pass and the memory it works in.
#pragma once

#include <vector>

#include "attention/attention.h"
#include "attention/compressor.h"
#include "attention/indexer.h"
#include "models/decoder_runner.h"
#include "models/deepseek_v4/model.h"
#include "models/experts.h"

namespace varve::deepseek_v4 {

/// Intermediates of one batch; n = max_tokens. Parts that never live at the same time share memory
/// only where it says so.
struct Scratch {
  Scratch(ArenaBuilder& arena, const Config& config, const RunnerOptions& options);

  float* streams;  // [n, hc, d]: the residual streams X
  float* mix;      // [n, (2 + hc) * hc]: projection of the streams
  float* pre;      // [n, hc]
  float* post;     // [n, hc]
  float* comb;     // [n, hc, hc]
  float* x;        // [n, d]: input of a sub-layer
  float* y;        // [n, d]: output of a sub-layer; of the last one: the hidden state
  // attention
  float* qr;               // [n, q_lora]
  float* q;                // [n, n_heads * head_dim]: queries, then attention's output
  float* kv;               // [n, head_dim]: window rows as computed
  std::byte* window_rows;  // [n] window rows as stored
  float* inputs;           // [n, 2 * width]: the compressor's
  float* index_inputs;     // [n, 2 * index width]
  float* index_q;          // [n, index_n_heads * index_head_dim]
  float* index_weights;    // [n, index_n_heads]
  int32_t* picks;          // [n, index_topk]
  int32_t* counts;         // [n]
  float* grouped;          // [n, o_groups * o_lora]
  // experts
  float* router;  // [n, n_experts]
  // angles of the batch's positions, window table and compress table
  float* cos[2];  // [n, rope_dim / 2]
  float* sin[2];
};

class ForwardPass final : public DecoderRunner {
 public:
  ForwardPass(const DeepseekV4& model, ArenaBuilder& arena, Exec& exec,
              const RunnerOptions& options);

  void forward(const Batch& batch) override;

 private:
  void embed(const Batch& batch);
  void fill_angles(const Batch& batch);
  void attention(const Batch& batch, int layer);
  void compress(const Batch& batch, int layer);
  void pick(const Batch& batch, int layer);
  void experts(const Batch& batch, int layer);
  void route(const Batch& batch, int layer);
  void enter(const HyperConnection& hc, const std::vector<float>& norm, int n);
  void leave(int n);
  void collapse(const Batch& batch);

  const DeepseekV4& model_;
  const Config& config_;
  const PoolFormats formats_;
  Scratch scratch_;
  ExpertRunner experts_;
  Attention attention_;
  Indexer indexer_;
};

}  // namespace varve::deepseek_v4
