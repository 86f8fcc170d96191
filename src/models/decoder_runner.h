// What the forward passes of several families do alike.
#pragma once

#include <span>
#include <vector>

#include "attention/rope.h"
#include "models/decoder.h"

namespace varve {

/// The end of every decoder: from hidden states to logits.
class DecoderRunner : public Runner {
 public:
  void logits(std::span<const int32_t> rows, float* out) final;
  void logits_of_newest(const Sequence& sequence, float* out) final;

 protected:
  DecoderRunner(const DecoderConfig& config, const DecoderWeights& weights, ArenaBuilder& arena,
                Exec& exec);

  /// Keeps each sequence's newest hidden state in it.
  void keep_newest(const Batch& batch);

  Exec& exec_;
  // The family's; once forward() is done, the batch's hidden states: [n, d], n = max_tokens.
  float* hidden_ = nullptr;

 private:
  const DecoderWeights& weights_;
  const int hidden_size_;
  float* head_x_;  // [kMaxLogitRows, d]
};

/// A decoder around one residual stream: each sub-layer reads it normed (x) and adds to it (y).
class SingleStreamRunner : public DecoderRunner {
 protected:
  /// `mlp_dim`: width of the widest mlp(); 0 where there is none.
  SingleStreamRunner(const DecoderConfig& config, const DecoderWeights& weights, const Rope& rope,
                     int mlp_dim, ArenaBuilder& arena, Exec& exec, int max_tokens);

  /// stream = embed[id]; cos and sin of the batch's positions.
  void embed(const Batch& batch);
  /// x = norm(stream).
  void norm(int n, const std::vector<float>& weight);
  /// stream += y.
  void add(int n);
  /// y = down (silu(gate x) * up x).
  void mlp(int n, const ExpertWeights& w, const MlpBiases& biases = {});
  /// x = norm(stream), the hidden states; the newest of each sequence is kept.
  void finish(const Batch& batch);

  // n = max_tokens
  float* stream_;  // [n, d]: the residual stream
  float* x_;       // [n, d]: input of a sub-layer; of the last one: the hidden state
  float* y_;       // [n, d]: output of a sub-layer
  float* cos_;     // [n, rope_dim / 2]
  float* sin_;     // [n, rope_dim / 2]

 private:
  const DecoderConfig& config_;
  const DecoderWeights& weights_;
  const Rope& rope_;
  float* gate_;  // [n, mlp_dim]
  float* up_;    // [n, mlp_dim]
};

}  // namespace varve
