// The forward pass: a decoder of pre-normed attention and gated MLP around one residual stream.
#include <algorithm>
#include <array>
#include <cmath>

#include "models/llama/runner.h"
#include "models/row.h"

namespace varve::llama {

ForwardPass::ForwardPass(const Llama& model, ArenaBuilder& arena, Exec& exec,
                         const RunnerOptions& options)
    : SingleStreamRunner(model.config(), model.weights(), model.config().rope,
                         model.config().mlp_dim, arena, exec, options.max_tokens),
      model_(model),
      config_(model.config()) {
  const Config& c = config_;
  const int n = options.max_tokens;
  const auto floats = [&](int rows, int width) {
    return arena.take<float>("scratch", at(rows, width));
  };
  const int q_dim = c.n_heads * c.head_dim;
  q_ = floats(n, q_dim);
  k_ = floats(n, c.n_kv_heads * c.head_dim);
  v_ = floats(n, c.n_kv_heads * c.head_dim);
  exec.lay_out(arena, std::max({at(n, c.hidden_size), at(n, q_dim), at(n, c.mlp_dim),
                                at(kMaxLogitRows, c.hidden_size)}));
  const bool all_in_windows = std::find(c.windows.begin(), c.windows.end(), 0) == c.windows.end();
  const int most_seen =
      all_in_windows ? *std::max_element(c.windows.begin(), c.windows.end()) : options.ctx_tokens;
  attention_.lay_out(arena, exec.pool().n_threads(), c.n_heads, c.n_kv_heads, c.head_dim,
                     std::min(most_seen, options.ctx_tokens));
}

void ForwardPass::forward(const Batch& batch) {
  const int n = static_cast<int>(batch.ids.size());
  embed(batch);
  for (int l = 0; l < config_.n_layers; ++l) {
    const LayerWeights& w = model_.weights().layers[static_cast<size_t>(l)];
    norm(n, w.attn_norm);
    attention(batch, l);  // y = attention(norm(stream))
    add(n);               // stream += y
    norm(n, w.ffn_norm);
    mlp(n, w.mlp, w.mlp_bias);
    add(n);
    if (batch.probe) batch.probe->floats("hidden", l, stream_, n, config_.hidden_size);
  }
  finish(batch);
}

void ForwardPass::attention(const Batch& batch, int l) {
  const Config& c = config_;
  const LayerWeights& w = model_.weights().layers[static_cast<size_t>(l)];
  const Kernels& op = exec_.ops();
  const int n = static_cast<int>(batch.ids.size());
  const int q_dim = c.n_heads * c.head_dim, kv_dim = c.n_kv_heads * c.head_dim;
  {
    const PartTimer timer(times_, Part::linears);
    const auto job = [&](const Weight& weight, float* y) {
      return LinearJob{&weight, x_, static_cast<size_t>(c.hidden_size),
                       n,       y,  static_cast<size_t>(weight.n_rows)};
    };
    const std::array<LinearJob, 3> jobs = {job(w.wq, q_), job(w.wk, k_), job(w.wv, v_)};
    exec_.linear(jobs);
    exec_.parallel(n, [&](int t, int) {
      const auto finish = [&](float* heads, int n_heads, const std::vector<float>& bias,
                              const std::vector<float>& head_norm, bool turn) {
        if (!bias.empty()) op.add(heads, bias.data(), n_heads * c.head_dim);
        for (int h = 0; h < n_heads && !head_norm.empty(); ++h) {
          float* const head = heads + at(h, c.head_dim);
          op.rms_norm(head, head_norm.data(), c.head_dim, c.rms_eps, head);
        }
        if (!turn) return;
        const float* const cos = cos_ + at(t, c.head_dim / 2);
        const float* const sin = sin_ + at(t, c.head_dim / 2);
        const auto stride = static_cast<size_t>(c.head_dim);
        if (c.rope_halves) {
          op.rope_halves(heads, n_heads, stride, c.head_dim, cos, sin);
        } else {
          op.rope(heads, n_heads, stride, c.head_dim, cos, sin, false);
        }
      };
      finish(q_ + at(t, q_dim), c.n_heads, w.bq, w.q_norm, true);
      finish(k_ + at(t, kv_dim), c.n_kv_heads, w.bk, w.k_norm, true);
      finish(v_ + at(t, kv_dim), c.n_kv_heads, w.bv, {}, false);
    });
  }
  {
    const PartTimer timer(times_, Part::attention);
    for (const Segment& segment : batch.segments) {
      attention_.attend(exec_,
                        {.q = q_ + at(segment.first, q_dim),
                         .k = k_ + at(segment.first, kv_dim),
                         .v = v_ + at(segment.first, kv_dim),
                         .n_heads = c.n_heads,
                         .scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim)),
                         .out = q_ + at(segment.first, q_dim)},
                        segment, l);
    }
  }
  const PartTimer timer(times_, Part::linears);
  exec_.linear(w.wo, q_, n, y_);
  if (w.bo.empty()) return;
  exec_.parallel(
      n, [&](int t, int) { op.add(y_ + at(t, c.hidden_size), w.bo.data(), c.hidden_size); });
}

}  // namespace varve::llama
