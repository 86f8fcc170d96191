// The forward pass. A token leaves one row, [latent | rotated key], that is key and value of all
// heads: queries are brought to the latent's space instead of rows to the heads'.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "models/mla/runner.h"
#include "models/row.h"

namespace varve::mla {
namespace {

constexpr float kLayerNormEps = 1e-6f;  // of index keys
constexpr float kLeastWeightSum = 1e-20f;

void layer_norm(float* x, const std::vector<float>& weight, const std::vector<float>& bias) {
  const auto n = static_cast<float>(weight.size());
  float mean = 0, variance = 0;
  for (size_t i = 0; i < weight.size(); ++i) mean += x[i];
  mean /= n;
  for (size_t i = 0; i < weight.size(); ++i) variance += (x[i] - mean) * (x[i] - mean);
  const float scale = 1 / std::sqrt(variance / n + kLayerNormEps);
  for (size_t i = 0; i < weight.size(); ++i) x[i] = (x[i] - mean) * scale * weight[i] + bias[i];
}

// Takes -inf into `masked` for experts of groups that are not looked into, 0 for the others.
void mask_groups(const RouterConfig& router, const float* score, const float* bias, int n_experts,
                 float* masked, int32_t* chosen_groups) {
  const int group = n_experts / router.n_groups;
  std::array<float, kMaxGroups> of_group;
  const std::array<float, kMaxGroups> no_bias{};
  for (int g = 0; g < router.n_groups; ++g) {
    // The sum of its best ones, with their biases.
    std::array<int32_t, 2> best{};
    choose_experts(score + g * group, bias + g * group, group, router.best_of_group, best.data());
    float sum = 0;
    for (int i = 0; i < router.best_of_group; ++i) {
      const int e = g * group + best[static_cast<size_t>(i)];
      sum += score[e] + bias[e];
    }
    of_group[static_cast<size_t>(g)] = sum;
  }
  choose_experts(of_group.data(), no_bias.data(), router.n_groups, router.n_groups_used,
                 chosen_groups);
  std::fill_n(masked, n_experts, -std::numeric_limits<float>::infinity());
  for (int i = 0; i < router.n_groups_used; ++i) {
    std::copy_n(bias + chosen_groups[i] * group, group, masked + chosen_groups[i] * group);
  }
}

ExpertShape expert_shape(const Config& c) {
  if (c.n_experts == 0) return {};
  return {.hidden_size = c.hidden_size,
          .n_experts = c.n_experts,
          .n_used = c.n_experts_used,
          .width = c.moe_dim,
          .shared_width = c.moe_dim * c.n_shared_experts};
}

}  // namespace

ForwardPass::ForwardPass(const Mla& model, ArenaBuilder& arena, Exec& exec,
                         const RunnerOptions& options)
    : SingleStreamRunner(model.config(), model.weights(), model.config().rope,
                         model.config().n_dense_layers > 0 ? model.config().mlp_dim : 0, arena,
                         exec, options.max_tokens),
      model_(model),
      config_(model.config()),
      formats_(options.formats),
      turned_(formats_.rotates(Pool::latent, config_.kv_lora_rank)),
      exact_bytes_(static_cast<int>(
          row_bytes(RowFormat::bf16, {config_.latent_dim(), config_.rope_dim, false}))),
      sinks_(static_cast<size_t>(config_.n_heads), -std::numeric_limits<float>::infinity()),
      experts_(arena, expert_shape(config_), options.max_tokens) {
  const Config& c = config_;
  const int n = options.max_tokens;
  const auto floats = [&](int rows, int width) {
    return arena.take<float>("scratch", at(rows, width));
  };
  const bool indexed = c.index_n_heads > 0;
  qr_ = floats(n, c.q_lora_rank);
  q_ = floats(n, c.n_heads * c.qk_dim());
  latent_ = floats(n, c.latent_dim());
  absorbed_ = floats(n, c.n_heads * c.latent_dim());
  if (formats_.keeps_exact(Pool::latent)) {
    exact_rows_ = arena.take<std::byte>("scratch", at(n, exact_bytes_));
  }
  values_ = floats(n, c.n_heads * c.v_dim);
  index_key_ = floats(n, c.index_head_dim);
  index_q_ = floats(n, c.index_n_heads * c.index_head_dim);
  index_weights_ = floats(n, c.index_n_heads);
  topk_ = std::min(c.index_topk, options.ctx_tokens);
  picks_ = arena.take<int32_t>("scratch", at(n, topk_));
  counts_ = arena.take<int32_t>("scratch", indexed ? static_cast<size_t>(n) : 0);
  router_ = floats(n, c.n_experts);
  masked_ = floats(n, c.router.n_groups_used < c.router.n_groups ? c.n_experts : 0);
  exec.lay_out(arena, std::max({at(n, c.hidden_size), at(n, c.n_heads * c.nope_dim),
                                at(n, c.n_heads * c.kv_lora_rank), at(n, c.n_heads * c.v_dim),
                                at(n, c.q_lora_rank), at(n, c.mlp_dim), experts_.max_inputs(),
                                at(kMaxLogitRows, c.hidden_size)}));
  const int most = indexed ? topk_ : options.ctx_tokens;
  attention_.lay_out(arena, exec.pool().n_threads(), c.n_heads, c.latent_dim(), most);
  indexer_.lay_out(arena, exec.pool().n_threads(), options.ctx_tokens > topk_ ? topk_ : 0, n,
                   c.index_n_heads, c.index_head_dim, formats_.index);
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
    if (l < config_.n_dense_layers) {
      mlp(n, w.dense);
    } else {
      const PartTimer timer(times_, Part::experts);
      route(n, l);
      experts_.run(exec_, w.experts, x_, n, y_);
    }
    add(n);
    if (batch.probe) batch.probe->floats("hidden", l, stream_, n, config_.hidden_size);
  }
  finish(batch);
}

// y[t, h] = heads[h] x[t, h], x_dim and y_dim floats from head to head.
void ForwardPass::per_head(const std::vector<Weight>& heads, const float* x, int x_dim, float* y,
                           int y_dim, int n) {
  std::array<LinearJob, 32> jobs;
  const auto x_stride = static_cast<size_t>(x_dim) * heads.size();
  const auto y_stride = static_cast<size_t>(y_dim) * heads.size();
  for (size_t h = 0; h < heads.size();) {
    size_t n_jobs = 0;
    for (; h < heads.size() && n_jobs < jobs.size(); ++h) {
      jobs[n_jobs++] = {&heads[h], x + h * static_cast<size_t>(x_dim), x_stride,
                        n,         y + h * static_cast<size_t>(y_dim), y_stride};
    }
    exec_.linear({jobs.data(), n_jobs});
  }
}

void ForwardPass::attention(const Batch& batch, int l) {
  const Config& c = config_;
  const LayerWeights& w = model_.weights().layers[static_cast<size_t>(l)];
  const int n = static_cast<int>(batch.ids.size());
  const int wide = c.n_heads * c.latent_dim();
  queries_and_rows(batch, l);
  if (c.index_n_heads > 0) pick(batch, l);
  {
    const PartTimer timer(times_, Part::attention);
    for (const Segment& segment : batch.segments) {
      attention_.attend(
          exec_,
          {.q = absorbed_ + at(segment.first, wide),
           .n_heads = c.n_heads,
           .head_dim = c.latent_dim(),
           .window_rows =
               exact_rows_ == nullptr ? nullptr : exact_rows_ + at(segment.first, exact_bytes_),
           .sinks = sinks_.data(),
           .scale = c.softmax_scale,
           .picks = picks_ + at(segment.first, topk_),
           .counts = counts_ + segment.first,
           .topk = topk_,
           .out = absorbed_ + at(segment.first, wide)},
          segment, l);
      if (exact_rows_ == nullptr) continue;
      keep_exact_latents(segment, l, exact_rows_ + at(segment.first, exact_bytes_));
    }
    if (turned_) exec_.parallel(n, [&](int t, int) { turn_heads(t); });  // back again
  }
  const PartTimer timer(times_, Part::linears);
  per_head(w.uv, absorbed_, c.latent_dim(), values_, c.v_dim, n);
  exec_.linear(w.wo, values_, n, y_);
}

// Turns the part of token t's absorbed queries, or of what they gathered, that meets latents.
void ForwardPass::turn_heads(int t) {
  const Config& c = config_;
  for (int h = 0; h < c.n_heads; ++h) {
    hadamard(absorbed_ + at(t, c.n_heads * c.latent_dim()) + at(h, c.latent_dim()), c.kv_lora_rank);
  }
}

// The batch's queries, brought to the latent's space, and its rows, in the cache.
void ForwardPass::queries_and_rows(const Batch& batch, int l) {
  const PartTimer timer(times_, Part::linears);
  const Config& c = config_;
  const LayerWeights& w = model_.weights().layers[static_cast<size_t>(l)];
  const Kernels& op = exec_.ops();
  const int n = static_cast<int>(batch.ids.size());
  const int half = c.rope_dim / 2;
  const auto job = [&](const Weight& weight, float* y) {
    return LinearJob{&weight, x_, static_cast<size_t>(c.hidden_size),
                     n,       y,  static_cast<size_t>(weight.n_rows)};
  };
  std::array<LinearJob, 4> jobs;
  size_t n_jobs = 0;
  jobs[n_jobs++] = c.q_lora_rank == 0 ? job(w.wq, q_) : job(w.wq_a, qr_);
  jobs[n_jobs++] = job(w.wkv_a, latent_);
  if (c.index_n_heads > 0) {
    jobs[n_jobs++] = job(w.index_wk, index_key_);
    jobs[n_jobs++] = job(w.index_weights, index_weights_);
  }
  exec_.linear({jobs.data(), n_jobs});
  if (c.q_lora_rank > 0) {
    exec_.parallel(n, [&](int t, int) {
      float* const qr = qr_ + at(t, c.q_lora_rank);
      op.rms_norm(qr, w.q_norm.data(), c.q_lora_rank, c.rms_eps, qr);
    });
    exec_.linear(w.wq_b, qr_, n, q_);
  }
  per_head(w.uk, q_, c.qk_dim(), absorbed_, c.latent_dim(), n);
  const RowShape row{c.latent_dim(), c.rope_dim, false};
  for (const Segment& segment : batch.segments) {
    exec_.parallel(segment.n, [&](int i, int) {
      const int t = segment.first + i;
      const float* const cos = cos_ + at(t, half);
      const float* const sin = sin_ + at(t, half);
      float* const latent = latent_ + at(t, c.latent_dim());
      op.rms_norm(latent, w.kv_norm.data(), c.kv_lora_rank, c.rms_eps, latent);
      op.rope(latent + c.kv_lora_rank, 1, 0, c.rope_dim, cos, sin, false);
      if (turned_) hadamard(latent, c.kv_lora_rank);
      encode_row(formats_.latent, row, latent, segment.sequence->entry(l, segment.start + i));
      if (exact_rows_ != nullptr) {
        encode_row(RowFormat::bf16, row, latent, exact_rows_ + at(t, exact_bytes_));
      }
      float* const absorbed = absorbed_ + at(t, c.n_heads * c.latent_dim()) + c.kv_lora_rank;
      for (int h = 0; h < c.n_heads; ++h) {
        std::copy_n(q_ + at(t, c.n_heads * c.qk_dim()) + at(h, c.qk_dim()) + c.nope_dim, c.rope_dim,
                    absorbed + at(h, c.latent_dim()));
      }
      if (turned_) turn_heads(t);
      op.rope(absorbed, c.n_heads, static_cast<size_t>(c.latent_dim()), c.rope_dim, cos, sin,
              false);
    });
  }
}

// Index keys of the batch into the cache; picks of each of its queries (V3.2).
void ForwardPass::pick(const Batch& batch, int l) {
  const PartTimer timer(times_, Part::index);
  const Config& c = config_;
  const LayerWeights& w = model_.weights().layers[static_cast<size_t>(l)];
  const Kernels& op = exec_.ops();
  const int n = static_cast<int>(batch.ids.size());
  const int q_dim = c.index_n_heads * c.index_head_dim;
  const int half = c.rope_dim / 2;
  const RowShape row{c.index_head_dim, c.rope_dim, true};
  const float scale = 1 / std::sqrt(static_cast<float>(c.index_head_dim)) /
                      std::sqrt(static_cast<float>(c.index_n_heads));
  exec_.linear(w.index_wq_b, qr_, n, index_q_);
  for (const Segment& segment : batch.segments) {
    exec_.parallel(segment.n, [&](int i, int) {
      const int t = segment.first + i;
      const float* const cos = cos_ + at(t, half);
      const float* const sin = sin_ + at(t, half);
      // Here the rotated values come first, in halves.
      float* const key = index_key_ + at(t, c.index_head_dim);
      layer_norm(key, w.index_k_norm, w.index_k_norm_bias);
      op.rope_halves(key, 1, 0, c.rope_dim, cos, sin);
      encode_row(formats_.index, row, key, segment.sequence->index_key(l, segment.start + i));
      op.rope_halves(index_q_ + at(t, q_dim), c.index_n_heads,
                     static_cast<size_t>(c.index_head_dim), c.rope_dim, cos, sin);
      for (int h = 0; h < c.index_n_heads; ++h) {
        index_weights_[at(t, c.index_n_heads) + static_cast<size_t>(h)] *= scale;
      }
    });
  }
  for (const Segment& segment : batch.segments) {
    indexer_.pick(exec_,
                  {.q = index_q_ + at(segment.first, q_dim),
                   .weights = index_weights_ + at(segment.first, c.index_n_heads),
                   .n_heads = c.index_n_heads,
                   .dim = c.index_head_dim,
                   .ratio = 1,
                   .topk = topk_},
                  segment, l, picks_ + at(segment.first, topk_), counts_ + segment.first);
  }
  if (batch.probe) {
    for (int t = 0; t < n; ++t) {
      batch.probe->ints("picks", l, picks_ + at(t, topk_), 1, counts_[t]);
    }
  }
}

void ForwardPass::route(int n, int l) {
  const Config& c = config_;
  const RouterConfig& r = c.router;
  const LayerWeights& w = model_.weights().layers[static_cast<size_t>(l)];
  const int used = c.n_experts_used;
  float* const scores = router_;
  exec_.linear(w.router, x_, n, scores);
  exec_.parallel(n, [&](int t, int) {
    float* const score = scores + at(t, c.n_experts);
    if (r.sigmoid) {
      for (int e = 0; e < c.n_experts; ++e) score[e] = 1 / (1 + std::exp(-score[e]));
    } else {
      const float most = *std::max_element(score, score + c.n_experts);
      float sum = 0;
      for (int e = 0; e < c.n_experts; ++e) sum += score[e] = std::exp(score[e] - most);
      for (int e = 0; e < c.n_experts; ++e) score[e] /= sum;
    }
    int32_t* const chosen = experts_.choice() + at(t, used);
    const float* bias = w.router_bias.data();
    if (r.n_groups_used < r.n_groups) {
      float* const masked = masked_ + at(t, c.n_experts);
      std::array<int32_t, kMaxGroups> groups;
      mask_groups(r, score, bias, c.n_experts, masked, groups.data());
      bias = masked;
    }
    choose_experts(score, bias, c.n_experts, used, chosen);
    std::sort(chosen, chosen + used);
    float sum = kLeastWeightSum;
    for (int i = 0; i < used; ++i) sum += score[chosen[i]];
    float* const weight = experts_.choice_weight() + at(t, used);
    for (int i = 0; i < used; ++i) {
      weight[i] = (r.norm_weights ? score[chosen[i]] / sum : score[chosen[i]]) * r.scale;
    }
  });
}

}  // namespace varve::mla
