// Mixture of experts (spec 8): the router; models/experts.h runs what it chose.
#include <algorithm>
#include <cmath>

#include "models/deepseek_v4/runner.h"
#include "models/row.h"

namespace varve::deepseek_v4 {
namespace {

// sqrt(softplus(x)); softplus is linear above 20, as in the official code.
float affinity(float x) {
  return std::sqrt(x > 20.0f ? x : std::log1p(std::exp(x)));
}

}  // namespace

void ForwardPass::experts(const Batch& batch, int l) {
  const PartTimer timer(times_, Part::experts);
  route(batch, l);
  experts_.run(exec_, model_.weights().layers[static_cast<size_t>(l)].experts, scratch_.x,
               static_cast<int>(batch.ids.size()), scratch_.y);
}

void ForwardPass::route(const Batch& batch, int l) {
  const Config& c = config_;
  const LayerWeights& w = model_.weights().layers[static_cast<size_t>(l)];
  Scratch& s = scratch_;
  const int n = static_cast<int>(batch.ids.size());
  const int used = c.n_experts_used;
  exec_.linear(w.router, s.x, n, s.router);
  exec_.parallel(n, [&](int t, int) {
    float* const score = s.router + at(t, c.n_experts);
    for (int e = 0; e < c.n_experts; ++e) score[e] = affinity(score[e]);
    int32_t* const chosen = experts_.choice() + at(t, used);
    if (w.experts_by_id.empty()) {
      choose_experts(score, w.router_bias.data(), c.n_experts, used, chosen);
    } else {
      std::copy_n(w.experts_by_id.data() + at(batch.ids[static_cast<size_t>(t)], used), used,
                  chosen);
    }
    std::sort(chosen, chosen + used);
    float sum = 0;
    for (int i = 0; i < used; ++i) sum += score[chosen[i]];
    const float scale = c.norm_topk_prob ? c.route_scale / sum : c.route_scale;
    float* const weight = experts_.choice_weight() + at(t, used);
    for (int i = 0; i < used; ++i) weight[i] = score[chosen[i]] * scale;
  });
}

}  // namespace varve::deepseek_v4
