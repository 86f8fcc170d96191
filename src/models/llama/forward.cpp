// The forward pass: a decoder of pre-normed attention and gated MLP around one residual stream.
#include <algorithm>
#include <array>
#include <cmath>

#include "models/llama/runner.h"

namespace varve::llama {
namespace {

size_t at(int row, int width) {
  return static_cast<size_t>(row) * static_cast<size_t>(width);
}

}  // namespace

ForwardPass::ForwardPass(const Llama& model, ArenaBuilder& arena, Exec& exec,
                         const RunnerOptions& options)
    : model_(model), config_(model.config()), exec_(exec) {
  const Config& c = config_;
  const int n = options.max_tokens;
  const auto floats = [&](int rows, int width) {
    return arena.take<float>("scratch", at(rows, width));
  };
  const int q_dim = c.n_heads * c.head_dim;
  stream_ = floats(n, c.hidden_size);
  x_ = floats(n, c.hidden_size);
  y_ = floats(n, c.hidden_size);
  q_ = floats(n, q_dim);
  k_ = floats(n, c.n_kv_heads * c.head_dim);
  v_ = floats(n, c.n_kv_heads * c.head_dim);
  gate_ = floats(n, c.mlp_dim);
  up_ = floats(n, c.mlp_dim);
  cos_ = floats(n, c.head_dim / 2);
  sin_ = floats(n, c.head_dim / 2);
  head_x_ = floats(kMaxLogitRows, c.hidden_size);
  exec.lay_out(arena, std::max({at(n, c.hidden_size), at(n, q_dim), at(n, c.mlp_dim),
                                at(kMaxLogitRows, c.hidden_size)}));
  attention_.lay_out(arena, exec.pool().n_threads(), c.n_heads, c.n_kv_heads, c.head_dim,
                     options.ctx_tokens);
}

void ForwardPass::forward(const Batch& batch) {
  const int n = static_cast<int>(batch.ids.size());
  embed(batch);
  for (int l = 0; l < config_.n_layers; ++l) {
    const LayerWeights& w = model_.weights().layers[static_cast<size_t>(l)];
    norm(n, w.attn_norm, x_);
    attention(batch, l);  // y = attention(norm(stream))
    add(n);               // stream += y
    norm(n, w.ffn_norm, x_);
    mlp(n, l);
    add(n);
    if (batch.probe) batch.probe->floats("hidden", l, stream_, n, config_.hidden_size);
  }
  norm(n, model_.weights().norm, x_);
  for (const Segment& segment : batch.segments) {
    std::copy_n(x_ + at(segment.first + segment.n - 1, config_.hidden_size), config_.hidden_size,
                segment.sequence->hidden());
  }
}

void ForwardPass::embed(const Batch& batch) {
  const PartTimer timer(times_, Part::embed);
  const int d = config_.hidden_size;
  exec_.parallel(static_cast<int>(batch.ids.size()), [&](int t, int) {
    decode_row(model_.weights().embed, batch.ids[static_cast<size_t>(t)],
               {stream_ + at(t, d), static_cast<size_t>(d)});
  });
  const int half = config_.head_dim / 2;
  for (const Segment& segment : batch.segments) {
    exec_.parallel(segment.n, [&](int t, int) {
      const size_t row = at(segment.first + t, half);
      config_.rope.angles(segment.start + t, cos_ + row, sin_ + row);
    });
  }
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

void ForwardPass::mlp(int n, int l) {
  const PartTimer timer(times_, Part::mlp);
  const Config& c = config_;
  const LayerWeights& w = model_.weights().layers[static_cast<size_t>(l)];
  const Kernels& op = exec_.ops();
  const auto d = static_cast<size_t>(c.hidden_size), width = static_cast<size_t>(c.mlp_dim);
  const std::array<LinearJob, 2> jobs = {LinearJob{&w.gate, x_, d, n, gate_, width},
                                         LinearJob{&w.up, x_, d, n, up_, width}};
  exec_.linear(jobs);
  exec_.parallel(n, [&](int t, int) {
    float* const gate = gate_ + at(t, c.mlp_dim);
    float* const up = up_ + at(t, c.mlp_dim);
    if (!w.gate_bias.empty()) op.add(gate, w.gate_bias.data(), c.mlp_dim);
    if (!w.up_bias.empty()) op.add(up, w.up_bias.data(), c.mlp_dim);
    op.swiglu(gate, up, c.mlp_dim, 0, 1, gate);
  });
  exec_.linear(w.down, gate_, n, y_);
  if (w.down_bias.empty()) return;
  exec_.parallel(
      n, [&](int t, int) { op.add(y_ + at(t, c.hidden_size), w.down_bias.data(), c.hidden_size); });
}

void ForwardPass::add(int n) {
  const PartTimer timer(times_, Part::mlp);
  const int d = config_.hidden_size;
  exec_.parallel(n, [&](int t, int) { exec_.ops().add(stream_ + at(t, d), y_ + at(t, d), d); });
}

void ForwardPass::norm(int n, const std::vector<float>& weight, float* out) {
  const PartTimer timer(times_, Part::mlp);
  const int d = config_.hidden_size;
  exec_.parallel(n, [&](int t, int) {
    exec_.ops().rms_norm(stream_ + at(t, d), weight.data(), d, config_.rms_eps, out + at(t, d));
  });
}

void ForwardPass::logits_of_newest(const Sequence& sequence, float* out) {
  const PartTimer timer(times_, Part::head);
  exec_.linear(model_.weights().head, sequence.hidden(), 1, out);
}

void ForwardPass::logits(std::span<const int32_t> rows, float* out) {
  const PartTimer timer(times_, Part::head);
  const int d = config_.hidden_size;
  for (size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(x_ + at(rows[i], d), d, head_x_ + at(static_cast<int>(i), d));
  }
  exec_.linear(model_.weights().head, head_x_, static_cast<int>(rows.size()), out);
}

}  // namespace varve::llama
