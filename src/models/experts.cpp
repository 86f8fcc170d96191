#include "models/experts.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "models/row.h"

namespace varve {
namespace {

constexpr int kColumnTile = 512;  // of the hidden state, when outputs are added up

}  // namespace

// `chosen` is a heap of the best so far with the worst of them on top.
void choose_experts(const float* score, const float* bias, int n, int k, int32_t* chosen) {
  const auto value = [&](int32_t e) {
    const float sum = score[e] + bias[e];
    return std::isnan(sum) ? -std::numeric_limits<float>::infinity() : sum;
  };
  const auto better = [&](int32_t a, int32_t b) {
    const float of_a = value(a), of_b = value(b);
    return of_a > of_b || (of_a == of_b && a < b);
  };
  for (int32_t e = 0; e < k; ++e) chosen[e] = e;
  std::make_heap(chosen, chosen + k, better);
  for (int32_t e = k; e < n; ++e) {
    if (!better(e, chosen[0])) continue;
    std::pop_heap(chosen, chosen + k, better);
    chosen[k - 1] = e;
    std::push_heap(chosen, chosen + k, better);
  }
  std::sort_heap(chosen, chosen + k, better);
}

ExpertRunner::ExpertRunner(ArenaBuilder& arena, const ExpertShape& shape, int n) : shape_(shape) {
  const auto floats = [&](int rows, int width) {
    return arena.take<float>("scratch", at(rows, width));
  };
  const auto ints = [&](int rows, int width) {
    return arena.take<int32_t>("scratch", at(rows, width));
  };
  pair_token_ = ints(n, shape.n_used + 1);
  pair_weight_ = floats(n, shape.n_used + 1);
  choice_ = ints(n, shape.n_used);
  choice_weight_ = floats(n, shape.n_used);
  first_pair_ = ints(shape.n_experts + 2, 1);
  // An expert fits whole (n pairs, one a token), and one token's experts run in one go.
  max_pairs_ = std::max(n, shape.n_used + 1);
  pair_x_ = floats(max_pairs_, shape.hidden_size);
  pair_gate_ = floats(max_pairs_, stride());
  pair_up_ = floats(max_pairs_, stride());
  pair_y_ = floats(max_pairs_, shape.hidden_size);
}

size_t ExpertRunner::max_inputs() const {
  return at(max_pairs_, std::max(shape_.hidden_size, stride()));
}

void ExpertRunner::run(Exec& exec, const std::vector<ExpertWeights>& experts, const float* x, int n,
                       float* y) {
  const int n_experts = static_cast<int>(experts.size());
  group(n, n_experts > shape_.n_experts);
  std::fill_n(y, at(n, shape_.hidden_size), 0.0f);
  // As many whole experts at once as there is room for. One that alone is too large (only when a
  // hash table names it twice for a token) is taken in parts.
  for (int begin = 0, e = 0; begin < first_pair_[n_experts];) {
    int end = begin;
    while (e < n_experts && first_pair_[e + 1] - begin <= max_pairs_) end = first_pair_[++e];
    if (end == begin) end = begin + max_pairs_;
    run_pairs(exec, experts, x, begin, end, y);
    begin = end;
  }
}

// Fills the list of (expert, token) pairs: ascending by expert, then by token. The shared expert
// comes last and takes every token with weight 1.
void ExpertRunner::group(int n, bool shared) {
  const int used = shape_.n_used, n_experts = shape_.n_experts;
  int32_t* const first = first_pair_;  // counts first, then starts
  std::fill_n(first, n_experts + 2, 0);
  for (size_t i = 0; i < at(n, used); ++i) ++first[choice_[i] + 1];
  for (int e = 0; e < n_experts; ++e) first[e + 1] += first[e];
  first[n_experts + 1] = first[n_experts] + (shared ? n : 0);
  // Placing advances each start to the next expert's; shift them back afterwards.
  for (int t = 0; t < n; ++t) {
    for (int i = 0; i < used; ++i) {
      const size_t from = at(t, used) + static_cast<size_t>(i);
      const int pair = first[choice_[from]]++;
      pair_token_[pair] = t;
      pair_weight_[pair] = choice_weight_[from];
    }
  }
  for (int e = n_experts; e > 0; --e) first[e] = first[e - 1];
  first[0] = 0;
  if (!shared) return;
  for (int t = 0; t < n; ++t) {
    pair_token_[first[n_experts] + t] = t;
    pair_weight_[first[n_experts] + t] = 1.0f;
  }
}

// Pairs [begin_pair, end_pair), at most max_pairs of them.
void ExpertRunner::run_pairs(Exec& exec, const std::vector<ExpertWeights>& experts, const float* x,
                             int begin_pair, int end_pair, float* y) {
  const int n_pairs = end_pair - begin_pair;
  const int width = stride();  // some are narrower
  const int hidden = shape_.hidden_size;
  const auto d = static_cast<size_t>(hidden);
  exec.parallel(n_pairs, [&](int p, int) {
    std::copy_n(x + at(pair_token_[begin_pair + p], hidden), d, pair_x_ + at(p, hidden));
  });
  std::array<LinearJob, 32> jobs;
  size_t n_jobs = 0;
  const auto flush = [&] {
    exec.linear({jobs.data(), n_jobs});
    n_jobs = 0;
  };
  const auto submit = [&](const LinearJob& job) {
    if (n_jobs == jobs.size()) flush();
    jobs[n_jobs++] = job;
  };
  const auto each_expert = [&](auto&& body) {
    for (size_t e = 0; e < experts.size(); ++e) {
      const int from = std::max(first_pair_[e], begin_pair);
      const int to = std::min(first_pair_[e + 1], end_pair);
      if (from < to) body(experts[e], from - begin_pair, to - from);
    }
    flush();
  };
  each_expert([&](const ExpertWeights& w, int pair, int n) {
    const float* const rows = pair_x_ + at(pair, hidden);
    submit({&w.gate, rows, d, n, pair_gate_ + at(pair, width), static_cast<size_t>(width)});
    submit({&w.up, rows, d, n, pair_up_ + at(pair, width), static_cast<size_t>(width)});
  });
  exec.parallel(n_pairs, [&](int p, int) {
    const bool routed = begin_pair + p < first_pair_[shape_.n_experts];
    float* const gate = pair_gate_ + at(p, width);
    exec.ops().swiglu(gate, pair_up_ + at(p, width), routed ? shape_.width : shape_.shared_width,
                      shape_.swiglu_limit, pair_weight_[begin_pair + p], gate);
  });
  each_expert([&](const ExpertWeights& w, int pair, int n) {
    submit({&w.down, pair_gate_ + at(pair, width), static_cast<size_t>(width), n,
            pair_y_ + at(pair, hidden), d});
  });
  // Pairs ascend by expert, and so do the groups: every token's sum has one order.
  const int n_tiles = (hidden + kColumnTile - 1) / kColumnTile;
  exec.parallel(n_tiles, [&](int tile, int) {
    const int column = tile * kColumnTile;
    const int n = std::min(kColumnTile, hidden - column);
    for (int p = 0; p < n_pairs; ++p) {
      exec.ops().add(y + at(pair_token_[begin_pair + p], hidden) + column,
                     pair_y_ + at(p, hidden) + column, n);
    }
  });
}

}  // namespace varve
