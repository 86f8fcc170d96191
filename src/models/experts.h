// A mixture of experts over the tokens of a batch: each touched expert runs once over its tokens,
// and what the experts give adds up in ascending expert id.
#pragma once

#include <vector>

#include "base/arena.h"
#include "kernels/exec.h"
#include "tensor/weight.h"

namespace varve {

/// One gated MLP.
struct ExpertWeights {
  Weight gate;  // [width, d]
  Weight up;    // [width, d]
  Weight down;  // [d, width]
};

struct ExpertShape {
  int hidden_size = 0;     // d
  int n_experts = 0;       // routed
  int n_used = 0;          // of them, by a token
  int width = 0;           // of a routed expert
  int shared_width = 0;    // of the shared one; 0: there is none
  float swiglu_limit = 0;  // 0: no clamp
};

/// The k <= n highest of score + bias, the highest first, equal ones by lower index. A NaN counts
/// as -inf. In n log k steps at most.
void choose_experts(const float* score, const float* bias, int n, int k, int32_t* chosen);

class ExpertRunner {
 public:
  ExpertRunner(ArenaBuilder& arena, const ExpertShape& shape, int max_tokens);

  /// Values that one call of linear() takes at most: what Exec::lay_out wants to know.
  size_t max_inputs() const;

  /// For the router: each token's experts, ascending, and their weights. [max_tokens, n_used]
  int32_t* choice() { return choice_; }
  float* choice_weight() { return choice_weight_; }

  /// y [n, d] = sum over the chosen experts of weight * expert(x), the shared one (behind the
  /// routed ones in `experts`) last, with weight 1.
  void run(Exec& exec, const std::vector<ExpertWeights>& experts, const float* x, int n, float* y);

 private:
  void group(int n, bool shared);
  void run_pairs(Exec& exec, const std::vector<ExpertWeights>& experts, const float* x,
                 int begin_pair, int end_pair, float* y);
  int stride() const { return std::max(shape_.width, shape_.shared_width); }

  ExpertShape shape_;
  int max_pairs_ = 0;     // of one group of experts
  int32_t* pair_token_;   // [n * used + n]: batch row of each (expert, token) pair, by expert
  float* pair_weight_;    // the same
  int32_t* choice_;       // [n, used]
  float* choice_weight_;  // [n, used]
  int32_t* first_pair_;   // [n_experts + 2]
  float* pair_x_;         // [max_pairs, d]
  float* pair_gate_;      // [max_pairs, stride]
  float* pair_up_;        // [max_pairs, stride]
  float* pair_y_;         // [max_pairs, d]
};

}  // namespace varve
