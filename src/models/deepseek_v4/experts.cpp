// Mixture of experts (spec 8): route, run each touched expert once over its tokens, add up in
// ascending expert id.
#include <algorithm>
#include <array>
#include <cmath>

#include "models/deepseek_v4/runner.h"

namespace varve::deepseek_v4 {
namespace {

constexpr int kColumnTile = 512;  // of the hidden state, when outputs are added up

size_t at(int row, int width) {
  return static_cast<size_t>(row) * static_cast<size_t>(width);
}

// sqrt(softplus(x)); softplus is linear above 20, as in the official code.
float affinity(float x) {
  return std::sqrt(x > 20.0f ? x : std::log1p(std::exp(x)));
}

// The k highest of score + bias, equal ones by lower index; ids in the order found.
void choose(const float* score, const float* bias, int n, int k, int32_t* chosen) {
  for (int slot = 0; slot < k; ++slot) {
    int best = -1;
    float best_value = 0;
    for (int e = 0; e < n; ++e) {
      if (std::find(chosen, chosen + slot, e) != chosen + slot) continue;
      const float value = score[e] + bias[e];
      if (best < 0 || value > best_value) {
        best = e;
        best_value = value;
      }
    }
    chosen[slot] = best;
  }
}

}  // namespace

void ForwardPass::experts(const Batch& batch, int l) {
  const PartTimer timer(times_, Part::experts);
  const LayerWeights& w = model_.weights().layers[static_cast<size_t>(l)];
  const int n = static_cast<int>(batch.ids.size());
  route(batch, l);
  std::fill_n(scratch_.y, at(n, config_.hidden_size), 0.0f);
  const int n_experts = static_cast<int>(w.experts.size());
  const int32_t* const first_pair = scratch_.first_pair;
  // As many whole experts at once as there is room for. One that alone is too large (only when a
  // hash table names it twice for a token) is taken in parts.
  for (int begin = 0, e = 0; begin < first_pair[n_experts];) {
    int end = begin;
    while (e < n_experts && first_pair[e + 1] - begin <= scratch_.max_pairs) end = first_pair[++e];
    if (end == begin) end = begin + scratch_.max_pairs;
    run_experts(w.experts, begin, end);
    begin = end;
  }
}

// Fills the list of (expert, token) pairs: ascending by expert, then by token. The shared expert
// comes last and takes every token with weight 1.
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
    int32_t* const chosen = s.choice + at(t, used);
    if (w.experts_by_id.empty()) {
      choose(score, w.router_bias.data(), c.n_experts, used, chosen);
    } else {
      std::copy_n(w.experts_by_id.data() + at(batch.ids[static_cast<size_t>(t)], used), used,
                  chosen);
    }
    std::sort(chosen, chosen + used);
    float sum = 0;
    for (int i = 0; i < used; ++i) sum += score[chosen[i]];
    const float scale = c.norm_topk_prob ? c.route_scale / sum : c.route_scale;
    for (int i = 0; i < used; ++i)
      s.choice_weight[at(t, used) + static_cast<size_t>(i)] = score[chosen[i]] * scale;
  });

  int32_t* const first = s.first_pair;  // counts first, then starts
  const bool shared = static_cast<int>(w.experts.size()) > c.n_experts;
  std::fill_n(first, c.n_experts + 2, 0);
  for (size_t i = 0; i < at(n, used); ++i) ++first[s.choice[i] + 1];
  for (int e = 0; e < c.n_experts; ++e) first[e + 1] += first[e];
  first[c.n_experts + 1] = first[c.n_experts] + (shared ? n : 0);
  // Placing advances each start to the next expert's; shift them back afterwards.
  for (int t = 0; t < n; ++t) {
    for (int i = 0; i < used; ++i) {
      const size_t from = at(t, used) + static_cast<size_t>(i);
      const int pair = first[s.choice[from]]++;
      s.pair_token[pair] = t;
      s.pair_weight[pair] = s.choice_weight[from];
    }
  }
  for (int e = c.n_experts; e > 0; --e) first[e] = first[e - 1];
  first[0] = 0;
  if (shared) {
    for (int t = 0; t < n; ++t) {
      s.pair_token[first[c.n_experts] + t] = t;
      s.pair_weight[first[c.n_experts] + t] = 1.0f;
    }
  }
}

// Pairs [begin_pair, end_pair), at most max_pairs of them.
void ForwardPass::run_experts(const std::vector<ExpertWeights>& experts, int begin_pair,
                              int end_pair) {
  const Config& c = config_;
  Scratch& s = scratch_;
  const int n_pairs = end_pair - begin_pair;
  const int width = c.moe_dim * std::max(1, c.n_shared_experts);  // stride; some are narrower
  const auto d = static_cast<size_t>(c.hidden_size);
  exec_.parallel(n_pairs, [&](int p, int) {
    std::copy_n(s.x + at(s.pair_token[begin_pair + p], c.hidden_size), d,
                s.pair_x + at(p, c.hidden_size));
  });
  std::array<LinearJob, 32> jobs;
  size_t n_jobs = 0;
  const auto flush = [&] {
    exec_.linear({jobs.data(), n_jobs});
    n_jobs = 0;
  };
  const auto submit = [&](const LinearJob& job) {
    if (n_jobs == jobs.size()) flush();
    jobs[n_jobs++] = job;
  };
  const auto each_expert = [&](auto&& body) {
    for (size_t e = 0; e < experts.size(); ++e) {
      const int from = std::max(s.first_pair[e], begin_pair);
      const int to = std::min(s.first_pair[e + 1], end_pair);
      if (from < to) body(experts[e], from - begin_pair, to - from);
    }
    flush();
  };
  each_expert([&](const ExpertWeights& w, int pair, int n) {
    const float* const x = s.pair_x + at(pair, c.hidden_size);
    submit({&w.gate, x, d, n, s.pair_gate + at(pair, width), static_cast<size_t>(width)});
    submit({&w.up, x, d, n, s.pair_up + at(pair, width), static_cast<size_t>(width)});
  });
  exec_.parallel(n_pairs, [&](int p, int) {
    const bool routed = begin_pair + p < s.first_pair[c.n_experts];
    float* const gate = s.pair_gate + at(p, width);
    exec_.ops().swiglu(gate, s.pair_up + at(p, width), routed ? c.moe_dim : width, c.swiglu_limit,
                       s.pair_weight[begin_pair + p], gate);
  });
  each_expert([&](const ExpertWeights& w, int pair, int n) {
    submit({&w.down, s.pair_gate + at(pair, width), static_cast<size_t>(width), n,
            s.pair_y + at(pair, c.hidden_size), d});
  });
  // Pairs ascend by expert, and so do the groups: every token's sum has one order.
  const int n_tiles = (c.hidden_size + kColumnTile - 1) / kColumnTile;
  exec_.parallel(n_tiles, [&](int tile, int) {
    const int column = tile * kColumnTile;
    const int n = std::min(kColumnTile, c.hidden_size - column);
    for (int p = 0; p < n_pairs; ++p) {
      exec_.ops().add(s.y + at(s.pair_token[begin_pair + p], c.hidden_size) + column,
                      s.pair_y + at(p, c.hidden_size) + column, n);
    }
  });
}

}  // namespace varve::deepseek_v4
