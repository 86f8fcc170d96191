// The forward pass, as the paper has it. Numbers in brackets behind a step are sections of the
// spec.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "models/deepseek_v4/runner.h"
#include "models/row.h"

namespace varve::deepseek_v4 {

ForwardPass::ForwardPass(const DeepseekV4& model, ArenaBuilder& arena, Exec& exec,
                         const RunnerOptions& options)
    : DecoderRunner(model.config(), model.weights(), arena, exec),
      model_(model),
      config_(model.config()),
      formats_(options.formats),
      scratch_(arena, model.config(), options),
      experts_(arena,
               {.hidden_size = config_.hidden_size,
                .n_experts = config_.n_experts,
                .n_used = config_.n_experts_used,
                .width = config_.moe_dim,
                .shared_width = config_.moe_dim * config_.n_shared_experts,
                .swiglu_limit = config_.swiglu_limit},
               options.max_tokens) {
  hidden_ = scratch_.y;
  int max_entries = 0;  // that one query attends to
  bool scores_entries = false;
  for (const LayerConfig& layer : config_.layers) {
    if (layer.attention == LayerKind::swa) continue;
    const int entries = options.ctx_tokens / layer.ratio;
    const bool picks = layer.attention == LayerKind::csa;
    scores_entries |= picks && entries > config_.index_topk;  // else all are picked
    max_entries = std::max(max_entries, picks ? std::min(config_.index_topk, entries) : entries);
  }
  // The most inputs that one call of linear() takes: streams, heads, or the pairs of experts.
  const int n = options.max_tokens;
  exec.lay_out(arena,
               std::max({at(n, config_.hc_mult * config_.hidden_size),
                         at(n, config_.n_heads * config_.head_dim),
                         at(n, config_.o_groups * config_.o_lora_rank), at(n, config_.q_lora_rank),
                         experts_.max_inputs(), at(kMaxLogitRows, config_.hidden_size)}));
  attention_.lay_out(arena, exec.pool().n_threads(), config_.n_heads, config_.head_dim,
                     config_.window + max_entries);
  indexer_.lay_out(arena, exec.pool().n_threads(), scores_entries ? config_.index_topk : 0,
                   options.max_tokens, config_.index_n_heads, config_.index_head_dim,
                   formats_.index);
}

void ForwardPass::forward(const Batch& batch) {
  const int n = static_cast<int>(batch.ids.size());
  embed(batch);        // X [n, hc, d]           (3)
  fill_angles(batch);  // RoPE                    (2.2)
  for (int l = 0; l < config_.n_layers; ++l) {
    const LayerWeights& w = model_.weights().layers[static_cast<size_t>(l)];
    enter(w.attn_hc, w.attn_norm, n);  // x = norm(sum pre_j X_j) (7.1-7.3)
    attention(batch, l);               // y = attention(x)        (4)
    if (batch.probe) batch.probe->floats("attn_out", l, scratch_.y, n, config_.hidden_size);
    leave(n);  // X = post y + comb^T X   (7.3)
    enter(w.ffn_hc, w.ffn_norm, n);
    experts(batch, l);  // y = experts(x)          (8)
    leave(n);
    if (batch.probe) {
      batch.probe->floats("streams", l, scratch_.streams, n, config_.hc_mult * config_.hidden_size);
    }
  }
  collapse(batch);  // y = norm(sum pre_j X_j) (7.4)
}

void ForwardPass::attention(const Batch& batch, int l) {
  const LayerConfig& layer = config_.layers[static_cast<size_t>(l)];
  const LayerWeights& w = model_.weights().layers[static_cast<size_t>(l)];
  const RowShape row = {config_.head_dim, config_.rope_dim, false};
  const size_t window_bytes = row_bytes(formats_.window, row);
  const Config& c = config_;
  const Kernels& op = exec_.ops();
  Scratch& s = scratch_;
  const int n = static_cast<int>(batch.ids.size());
  const int nope = c.head_dim - c.rope_dim;
  const int heads_dim = c.n_heads * c.head_dim;
  const int table = layer.attention == LayerKind::swa ? 0 : 1;
  const auto angle = [&](float* const* of, int t) { return of[table] + at(t, c.rope_dim / 2); };

  {
    const PartTimer timer(times_, Part::linears);
    const auto job = [&](const Weight& weight, float* y, int stride) {
      return LinearJob{&weight, s.x, static_cast<size_t>(c.hidden_size),
                       n,       y,   static_cast<size_t>(stride)};
    };
    std::array<LinearJob, 7> jobs;
    size_t n_jobs = 0;
    jobs[n_jobs++] = job(w.wq_a, s.qr, c.q_lora_rank);
    jobs[n_jobs++] = job(w.wkv, s.kv, c.head_dim);
    if (layer.attention != LayerKind::swa) {  // compressor inputs [kv | score] (5)
      const int width = w.compressor.kv.n_rows;
      jobs[n_jobs++] = job(w.compressor.kv, s.inputs, 2 * width);
      jobs[n_jobs++] = job(w.compressor.gate, s.inputs + width, 2 * width);
    }
    if (layer.attention == LayerKind::csa) {  // the indexer's                  (6)
      const int width = w.index_compressor.kv.n_rows;
      jobs[n_jobs++] = job(w.index_compressor.kv, s.index_inputs, 2 * width);
      jobs[n_jobs++] = job(w.index_compressor.gate, s.index_inputs + width, 2 * width);
      jobs[n_jobs++] = job(w.index_weights, s.index_weights, c.index_n_heads);
    }
    exec_.linear({jobs.data(), n_jobs});
    exec_.parallel(n, [&](int t, int) {  // qr, window row          (4.1, 4.2)
      float* const qr = s.qr + at(t, c.q_lora_rank);
      float* const kv = s.kv + at(t, c.head_dim);
      op.rms_norm(qr, w.q_norm.data(), c.q_lora_rank, c.rms_eps, qr);
      op.rms_norm(kv, w.kv_norm.data(), c.head_dim, c.rms_eps, kv);
      op.rope(kv + nope, 1, 0, c.rope_dim, angle(s.cos, t), angle(s.sin, t), false);
      encode_row(formats_.window, row, kv, s.window_rows + static_cast<size_t>(t) * window_bytes);
    });
    exec_.linear(w.wq_b, s.qr, n, s.q);  // q [n, n_heads, head_dim]     (4.1)
    exec_.parallel(n, [&](int t, int) {
      float* const q = s.q + at(t, heads_dim);
      for (int h = 0; h < c.n_heads; ++h) {
        op.rms_norm(q + at(h, c.head_dim), nullptr, c.head_dim, c.rms_eps, q + at(h, c.head_dim));
      }
      op.rope(q + nope, c.n_heads, static_cast<size_t>(c.head_dim), c.rope_dim, angle(s.cos, t),
              angle(s.sin, t), false);
    });
  }
  if (batch.probe) batch.probe->floats("window_rows", l, s.kv, n, c.head_dim);

  if (layer.attention != LayerKind::swa) compress(batch, l);  // entries of closed windows     (5)
  if (layer.attention == LayerKind::csa) pick(batch, l);      // picks [n, topk]               (6)

  {
    const PartTimer timer(times_, Part::attention);
    for (const Segment& segment : batch.segments) {  // window + entries + sink (4.3, 4.4)
      attention_.attend(
          exec_,
          {.q = s.q + at(segment.first, heads_dim),
           .n_heads = c.n_heads,
           .head_dim = c.head_dim,
           .window_rows = s.window_rows + static_cast<size_t>(segment.first) * window_bytes,
           .sinks = w.sinks.data(),
           .scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim)),
           .picks = s.picks + at(segment.first, c.index_topk),
           .counts = s.counts + segment.first,
           .topk = c.index_topk,
           .out = s.q + at(segment.first, heads_dim)},
          segment, l);
      keep_window_rows(segment, l,
                       s.window_rows + static_cast<size_t>(segment.first) * window_bytes);
    }
  }

  const PartTimer timer(times_, Part::linears);
  exec_.parallel(n, [&](int t, int) {  // turn the output back         (4.5)
    op.rope(s.q + at(t, heads_dim) + nope, c.n_heads, static_cast<size_t>(c.head_dim), c.rope_dim,
            angle(s.cos, t), angle(s.sin, t), true);
  });
  const int group_dim = heads_dim / c.o_groups;
  const int grouped_dim = c.o_groups * c.o_lora_rank;
  for (int g = 0; g < c.o_groups;) {  // per group of heads
    std::array<LinearJob, 16> jobs;
    size_t n_jobs = 0;
    for (; g < c.o_groups && n_jobs < jobs.size(); ++g) {
      jobs[n_jobs++] = {&w.wo_a[static_cast<size_t>(g)], s.q + g * group_dim,
                        static_cast<size_t>(heads_dim),  n,
                        s.grouped + g * c.o_lora_rank,   static_cast<size_t>(grouped_dim)};
    }
    exec_.linear({jobs.data(), n_jobs});
  }
  exec_.linear(w.wo_b, s.grouped, n, s.y);
}

void ForwardPass::compress(const Batch& batch, int l) {
  const PartTimer timer(times_, Part::compress);
  const LayerConfig& layer = config_.layers[static_cast<size_t>(l)];
  const LayerWeights& w = model_.weights().layers[static_cast<size_t>(l)];
  const Rope& rope = model_.rope(layer.attention);
  const auto run = [&](const CompressorWeights& weights, int dim, bool overlap, CompressedRow row,
                       float* all_inputs) {
    const Compressor compressor{layer.ratio, dim, overlap, weights.position_bias.data(),
                                weights.norm.data()};
    for (const Segment& segment : batch.segments) {
      float* const inputs = all_inputs + at(segment.first, 2 * compressor.width());
      add_position_bias(exec_, compressor, segment, inputs);
      close_entries(exec_, compressor, segment, l, row, inputs, rope, config_.rms_eps);
      keep_inputs(compressor, segment, l, row, inputs);
    }
  };
  const bool csa = layer.attention == LayerKind::csa;
  run(w.compressor, config_.head_dim, csa, CompressedRow::entry, scratch_.inputs);
  if (csa) {
    run(w.index_compressor, config_.index_head_dim, true, CompressedRow::index_key,
        scratch_.index_inputs);
  }
}

void ForwardPass::pick(const Batch& batch, int l) {
  const PartTimer timer(times_, Part::index);
  const Config& c = config_;
  const LayerWeights& w = model_.weights().layers[static_cast<size_t>(l)];
  Scratch& s = scratch_;
  const int n = static_cast<int>(batch.ids.size());
  const int q_dim = c.index_n_heads * c.index_head_dim;
  exec_.linear(w.index_wq_b, s.qr, n, s.index_q);
  const float scale = 1.0f / std::sqrt(static_cast<float>(c.index_head_dim)) /
                      std::sqrt(static_cast<float>(c.index_n_heads));
  exec_.parallel(n, [&](int t, int) {
    exec_.ops().rope(s.index_q + at(t, q_dim) + c.index_head_dim - c.rope_dim, c.index_n_heads,
                     static_cast<size_t>(c.index_head_dim), c.rope_dim,
                     s.cos[1] + at(t, c.rope_dim / 2), s.sin[1] + at(t, c.rope_dim / 2), false);
    for (int h = 0; h < c.index_n_heads; ++h)
      s.index_weights[at(t, c.index_n_heads) + static_cast<size_t>(h)] *= scale;
  });
  for (const Segment& segment : batch.segments) {
    indexer_.pick(exec_,
                  {.q = s.index_q + at(segment.first, q_dim),
                   .weights = s.index_weights + at(segment.first, c.index_n_heads),
                   .n_heads = c.index_n_heads,
                   .dim = c.index_head_dim,
                   .ratio = c.layers[static_cast<size_t>(l)].ratio,
                   .topk = c.index_topk},
                  segment, l, s.picks + at(segment.first, c.index_topk), s.counts + segment.first);
  }
  if (batch.probe) {
    for (int t = 0; t < n; ++t) {
      batch.probe->ints("picks", l, s.picks + at(t, c.index_topk), 1, s.counts[t]);
    }
  }
}

void ForwardPass::embed(const Batch& batch) {
  const PartTimer timer(times_, Part::embed);
  const int d = config_.hidden_size;
  exec_.parallel(static_cast<int>(batch.ids.size()), [&](int t, int) {
    float* const streams = scratch_.streams + at(t, config_.hc_mult * d);
    decode_row(model_.weights().embed, batch.ids[static_cast<size_t>(t)],
               {streams, static_cast<size_t>(d)});
    for (int j = 1; j < config_.hc_mult; ++j) std::copy_n(streams, d, streams + at(j, d));
  });
}

void ForwardPass::fill_angles(const Batch& batch) {
  const PartTimer timer(times_, Part::embed);
  const int half = config_.rope_dim / 2;
  for (const Segment& segment : batch.segments) {
    exec_.parallel(segment.n, [&](int t, int) {
      const size_t row = at(segment.first + t, half);
      model_.rope(LayerKind::swa)
          .angles(segment.start + t, scratch_.cos[0] + row, scratch_.sin[0] + row);
      model_.rope(LayerKind::csa)
          .angles(segment.start + t, scratch_.cos[1] + row, scratch_.sin[1] + row);
    });
  }
}

void ForwardPass::enter(const HyperConnection& hc, const std::vector<float>& norm, int n) {
  const PartTimer timer(times_, Part::hyper_connections);
  const Config& c = config_;
  const Kernels& op = exec_.ops();
  Scratch& s = scratch_;
  const int wide = c.hc_mult * c.hidden_size;
  const int n_mix = (2 + c.hc_mult) * c.hc_mult;
  exec_.linear(hc.fn, s.streams, n, s.mix);
  exec_.parallel(n, [&](int t, int) {
    const float* const streams = s.streams + at(t, wide);
    float* const mix = s.mix + at(t, n_mix);
    const float rs = op.inverse_rms(streams, wide, c.rms_eps);
    for (int i = 0; i < n_mix; ++i) mix[i] *= rs;
    float* const pre = s.pre + at(t, c.hc_mult);
    op.hc_coefficients({mix, hc.scale.data(), hc.base.data(), c.hc_mult, c.hc_iters, c.hc_eps, pre,
                        s.post + at(t, c.hc_mult), s.comb + at(t, c.hc_mult * c.hc_mult)});
    float* const x = s.x + at(t, c.hidden_size);
    op.hc_collapse(streams, pre, c.hc_mult, c.hidden_size, x);
    op.rms_norm(x, norm.data(), c.hidden_size, c.rms_eps, x);
  });
}

void ForwardPass::leave(int n) {
  const PartTimer timer(times_, Part::hyper_connections);
  const Config& c = config_;
  exec_.parallel(n, [&](int t, int) {
    exec_.ops().hc_expand(scratch_.streams + at(t, c.hc_mult * c.hidden_size),
                          scratch_.y + at(t, c.hidden_size), scratch_.post + at(t, c.hc_mult),
                          scratch_.comb + at(t, c.hc_mult * c.hc_mult), c.hc_mult, c.hidden_size);
  });
}

void ForwardPass::collapse(const Batch& batch) {
  const PartTimer timer(times_, Part::head);
  const int n = static_cast<int>(batch.ids.size());
  const Config& c = config_;
  const Kernels& op = exec_.ops();
  const HyperConnection& hc = model_.weights().head_hc;
  Scratch& s = scratch_;
  const int wide = c.hc_mult * c.hidden_size;
  exec_.linear(hc.fn, s.streams, n, s.pre);  // [n, hc]
  exec_.parallel(n, [&](int t, int) {
    const float* const streams = s.streams + at(t, wide);
    float* const pre = s.pre + at(t, c.hc_mult);
    const float rs = op.inverse_rms(streams, wide, c.rms_eps);
    for (int j = 0; j < c.hc_mult; ++j) {
      const float z = pre[j] * rs * hc.scale[0] + hc.base[static_cast<size_t>(j)];
      pre[j] = 1.0f / (1.0f + std::exp(-z)) + c.hc_eps;
    }
    float* const y = s.y + at(t, c.hidden_size);
    op.hc_collapse(streams, pre, c.hc_mult, c.hidden_size, y);
    op.rms_norm(y, model_.weights().norm.data(), c.hidden_size, c.rms_eps, y);
  });
  keep_newest(batch);
}

}  // namespace varve::deepseek_v4
