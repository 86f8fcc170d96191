// The reference kernels: obvious, slow, right.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/kernels.h"
#include "tensor/kv_tile.h"

namespace varve {
namespace {

// Sums run in index order.
float dot(const float* a, const float* b, int n) {
  float sum = 0;
  for (int i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void linear(const LinearArgs& a) {
  const int n_cols = a.weight->n_cols;
  float* const row = a.workspace;  // [n_cols]
  for (int r = a.row_begin; r < a.row_end; ++r) {
    decode_row(*a.weight, r, {row, static_cast<size_t>(n_cols)});
    for (int t = 0; t < a.n_tokens; ++t) {
      a.y[static_cast<size_t>(t) * a.y_stride + static_cast<size_t>(r)] =
          dot(row, a.x + static_cast<size_t>(t) * a.x_stride, n_cols);
    }
  }
}

void linear_bf16(const LinearBf16Args& a) {
  const int n_cols = a.weight->n_cols;
  float* const row = a.workspace;  // [n_cols]
  for (int r = a.row_begin; r < a.row_end; ++r) {
    decode_row(*a.weight, r, {row, static_cast<size_t>(n_cols)});
    for (int t = 0; t < a.n_tokens; ++t) {
      const uint16_t* const x = a.x + static_cast<size_t>(t) * a.x_stride;
      float sum = 0;
      for (int c = 0; c < n_cols; ++c) sum += row[c] * f32_from_bf16(x[c]);
      a.y[static_cast<size_t>(t) * a.y_stride + static_cast<size_t>(r)] = sum;
    }
  }
}

void attend(const AttendArgs& a) {
  const auto dim = static_cast<size_t>(a.head_dim);
  const RowShape shape{a.head_dim, a.rope_dim, false};
  const auto input = [&](float x) { return a.products == Products::bf16 ? round_to_bf16(x) : x; };
  float* const sum_values = a.workspace;  // [head_dim]
  float* const q = sum_values + dim;      // [head_dim]
  float* const rows = q + dim;            // [kAttendTile, head_dim]
  for (int h = 0; h < a.n_heads; ++h) {
    for (size_t d = 0; d < dim; ++d) q[d] = input(a.q[static_cast<size_t>(h) * dim + d]);
    std::fill_n(sum_values, dim, 0.0f);
    float running_max = -std::numeric_limits<float>::infinity();
    float sum = 0;
    for (int begin = 0; begin < a.n_rows; begin += kAttendTile) {
      const int n = std::min(kAttendTile, a.n_rows - begin);
      float score[kAttendTile];
      float tile_max = running_max;
      for (int k = 0; k < n; ++k) {
        const AttendRow& stored = a.rows[begin + k];
        float* const row = rows + static_cast<size_t>(k) * dim;
        decode_row(stored.format, shape, stored.bytes, row);
        score[k] = a.scale * dot(q, row, a.head_dim);
        tile_max = std::max(tile_max, score[k]);
      }
      const float shrink = std::exp(running_max - tile_max);  // exp(-inf) = 0 in the first tile
      running_max = tile_max;
      sum *= shrink;
      for (size_t d = 0; d < dim; ++d) sum_values[d] *= shrink;
      for (int k = 0; k < n; ++k) {
        const float p = std::exp(score[k] - running_max);
        sum += p;
        const float weight = input(p);
        const float* const row = rows + static_cast<size_t>(k) * dim;
        for (size_t d = 0; d < dim; ++d) sum_values[d] += weight * row[d];
      }
    }
    const bool part = a.max != nullptr;
    if (part) {
      a.max[h] = running_max;
      a.sum[h] = sum;
    }
    const float denominator = part ? 1 : sum + std::exp(a.sinks[h] - running_max);
    float* const out = a.out + static_cast<size_t>(h) * dim;
    for (size_t d = 0; d < dim; ++d) out[d] = sum_values[d] / denominator;
  }
}

// values [head_dim] = the key or value of position `pos`.
void kv_row(const AttendKvArgs& a, int pos, KvSide side, float* values) {
  const KvRun& run = a.runs[pos / a.run_rows - a.first_run];
  const bool keys = side == KvSide::keys;
  load_kv_row(keys ? a.k_format : a.v_format, side, {a.head_dim, 0, false},
              keys ? run.keys : run.values, pos % a.run_rows, values);
}

void attend_kv_head(const AttendKvArgs& a, int query, const float* q, float* max, float* sum,
                    float* values) {
  const auto dim = static_cast<size_t>(a.head_dim);
  const auto input = [&](float x) { return a.products == Products::bf16 ? round_to_bf16(x) : x; };
  float row[kMaxHeadDim], rounded_q[kMaxHeadDim];
  for (size_t d = 0; d < dim; ++d) rounded_q[d] = input(q[d]);
  *max = -std::numeric_limits<float>::infinity();
  *sum = 0;
  std::fill_n(values, dim, 0.0f);
  const int end = a.end_seen(query);
  for (int begin = a.first_seen(query); begin < end;) {
    const int stop = std::min(end, (begin / kAttendTile + 1) * kAttendTile);
    float score[kAttendTile];
    float tile_max = *max;
    for (int pos = begin; pos < stop; ++pos) {
      kv_row(a, pos, KvSide::keys, row);
      score[pos - begin] = a.scale * dot(rounded_q, row, a.head_dim);
      tile_max = std::max(tile_max, score[pos - begin]);
    }
    const float shrink = std::exp(*max - tile_max);  // exp(-inf) = 0 in the first tile
    *max = tile_max;
    *sum *= shrink;
    for (size_t d = 0; d < dim; ++d) values[d] *= shrink;
    for (int pos = begin; pos < stop; ++pos) {
      const float p = std::exp(score[pos - begin] - *max);
      *sum += p;
      const float weight = input(p);
      kv_row(a, pos, KvSide::values, row);
      for (size_t d = 0; d < dim; ++d) values[d] += weight * row[d];
    }
    begin = stop;
  }
}

void attend_kv(const AttendKvArgs& a) {
  for (int query = 0; query < a.n_queries; ++query) {
    for (int h = 0; h < a.n_heads; ++h) {
      const auto dim = static_cast<size_t>(a.head_dim);
      const auto head = static_cast<size_t>(query * a.n_heads + h);
      attend_kv_head(a, query,
                     a.q + static_cast<size_t>(query) * a.q_stride + static_cast<size_t>(h) * dim,
                     a.max + head, a.sum + head, a.values + head * dim);
    }
  }
}

void index_scores(const IndexScoresArgs& a) {
  const auto dim = static_cast<size_t>(a.dim);
  for (int w = 0; w < a.n_keys; ++w) {
    const float* const key = a.keys + static_cast<size_t>(w) * dim;
    float score = 0;
    for (int h = 0; h < a.n_heads; ++h) {
      score += a.weights[h] * std::max(0.0f, dot(a.q + static_cast<size_t>(h) * dim, key, a.dim));
    }
    a.scores[w] = score;
  }
}

float index_score_native(const IndexScoresNativeArgs& a, int query, const int8_t* key,
                         const float* key_scale) {
  const int n_groups = index_groups(a.dim);
  float score = 0;
  for (int h = 0; h < a.n_heads; ++h) {
    const auto row =
        static_cast<size_t>(query) * static_cast<size_t>(a.n_heads) + static_cast<size_t>(h);
    const int8_t* const q = a.q + row * static_cast<size_t>(index_padded(a.dim));
    const float* const q_scales = a.q_scales + row * static_cast<size_t>(n_groups);
    float s = 0;
    for (int g = 0; g < n_groups; ++g) {
      int32_t exact = 0;
      for (int i = g * kE2m1Group; i < (g + 1) * kE2m1Group; ++i) exact += q[i] * key[i];
      s += static_cast<float>(exact) * (q_scales[g] * key_scale[g]);
    }
    score += a.weights[row] * std::max(0.0f, s);
  }
  return score;
}

void index_scores_native(const IndexScoresNativeArgs& a) {
  const size_t stride = row_bytes(RowFormat::native, {a.dim, 0, true});
  int8_t key[kMaxHeadDim];
  float key_scale[kMaxHeadDim / kE2m1Group];
  for (int w = 0; w < a.n_keys; ++w) {
    decode_index_key(a.keys + static_cast<size_t>(w) * stride, a.dim, key, key_scale);
    for (int query = 0; query < a.n_queries; ++query) {
      a.scores[static_cast<size_t>(query) * a.scores_stride + static_cast<size_t>(w)] =
          index_score_native(a, query, key, key_scale);
    }
  }
}

void pool(const PoolArgs& a) {
  for (int d = 0; d < a.dim; ++d) {
    float max = -std::numeric_limits<float>::infinity();
    for (int s = 0; s < a.n_slots; ++s) max = std::max(max, a.score[s][d]);
    float sum = 0, weighted = 0;
    for (int s = 0; s < a.n_slots; ++s) {
      const float p = std::exp(a.score[s][d] - max);
      sum += p;
      weighted += p * a.kv[s][d];
    }
    a.out[d] = weighted / sum;
  }
}

float inverse_rms(const float* x, int n, float eps) {
  return 1.0f / std::sqrt(dot(x, x, n) / static_cast<float>(n) + eps);
}

void rms_norm(const float* x, const float* weight, int n, float eps, float* y) {
  const float scale = inverse_rms(x, n, eps);
  for (int i = 0; i < n; ++i) y[i] = weight == nullptr ? x[i] * scale : weight[i] * (x[i] * scale);
}

void rope(float* x, int n_vectors, size_t stride, int rope_dim, const float* cos, const float* sin,
          bool inverse) {
  for (int v = 0; v < n_vectors; ++v) {
    float* const pair = x + static_cast<size_t>(v) * stride;
    for (int i = 0; i < rope_dim / 2; ++i) {
      const float even = pair[2 * i], odd = pair[2 * i + 1];
      const float s = inverse ? -sin[i] : sin[i];
      pair[2 * i] = even * cos[i] - odd * s;
      pair[2 * i + 1] = odd * cos[i] + even * s;
    }
  }
}

void rope_halves(float* x, int n_vectors, size_t stride, int rope_dim, const float* cos,
                 const float* sin) {
  const int half = rope_dim / 2;
  for (int v = 0; v < n_vectors; ++v) {
    float* const vector = x + static_cast<size_t>(v) * stride;
    for (int i = 0; i < half; ++i) {
      const float first = vector[i], second = vector[i + half];
      vector[i] = first * cos[i] - second * sin[i];
      vector[i + half] = second * cos[i] + first * sin[i];
    }
  }
}

void swiglu(const float* gate, const float* up, int n, float limit, float scale, float* out) {
  for (int i = 0; i < n; ++i) {
    float g = gate[i], u = up[i];
    if (limit > 0) {
      g = std::min(g, limit);
      u = std::clamp(u, -limit, limit);
    }
    out[i] = g / (1.0f + std::exp(-g)) * u * scale;
  }
}

float sigmoid(float x) {
  return 1.0f / (1.0f + std::exp(-x));
}

void hc_coefficients(const HcCoefficientsArgs& a) {
  const int hc = a.hc;
  for (int j = 0; j < hc; ++j) {
    a.pre[j] = sigmoid(a.mix[j] * a.scale[0] + a.base[j]) + a.eps;
    a.post[j] = 2.0f * sigmoid(a.mix[hc + j] * a.scale[1] + a.base[hc + j]);
  }
  // Sinkhorn: softmax over each row, then columns and rows in turn, ending on columns.
  float* const c = a.comb;
  for (int j = 0; j < hc; ++j) {
    float max = -std::numeric_limits<float>::infinity();
    for (int k = 0; k < hc; ++k) {
      const int at = 2 * hc + j * hc + k;
      c[j * hc + k] = a.mix[at] * a.scale[2] + a.base[at];
      max = std::max(max, c[j * hc + k]);
    }
    float sum = 0;
    for (int k = 0; k < hc; ++k) sum += c[j * hc + k] = std::exp(c[j * hc + k] - max);
    for (int k = 0; k < hc; ++k) c[j * hc + k] = c[j * hc + k] / sum + a.eps;
  }
  const auto normalise_columns = [&] {
    for (int k = 0; k < hc; ++k) {
      float sum = 0;
      for (int j = 0; j < hc; ++j) sum += c[j * hc + k];
      for (int j = 0; j < hc; ++j) c[j * hc + k] /= sum + a.eps;
    }
  };
  const auto normalise_rows = [&] {
    for (int j = 0; j < hc; ++j) {
      float sum = 0;
      for (int k = 0; k < hc; ++k) sum += c[j * hc + k];
      for (int k = 0; k < hc; ++k) c[j * hc + k] /= sum + a.eps;
    }
  };
  normalise_columns();
  for (int i = 1; i < a.iterations; ++i) {
    normalise_rows();
    normalise_columns();
  }
}

void hc_collapse(const float* streams, const float* pre, int hc, int dim, float* y) {
  for (int d = 0; d < dim; ++d) {
    float sum = 0;
    for (int j = 0; j < hc; ++j) {
      sum += pre[j] *
             streams[static_cast<size_t>(j) * static_cast<size_t>(dim) + static_cast<size_t>(d)];
    }
    y[d] = sum;
  }
}

void hc_expand(float* streams, const float* y, const float* post, const float* comb, int hc,
               int dim) {
  const auto stride = static_cast<size_t>(dim);
  float mixed[kMaxStreams];
  for (size_t d = 0; d < stride; ++d) {
    for (int k = 0; k < hc; ++k) {
      float sum = post[k] * y[d];
      for (int j = 0; j < hc; ++j) {
        sum += comb[j * hc + k] * streams[static_cast<size_t>(j) * stride + d];
      }
      mixed[k] = sum;
    }
    for (int k = 0; k < hc; ++k) streams[static_cast<size_t>(k) * stride + d] = mixed[k];
  }
}

void add(float* y, const float* x, int n) {
  for (int i = 0; i < n; ++i) y[i] += x[i];
}

void round_bf16(const float* x, size_t n, uint16_t* y) {
  for (size_t i = 0; i < n; ++i) y[i] = bf16_from_f32(x[i]);
}

}  // namespace

const Kernels& ref_kernels() {
  static constexpr Kernels kernels = {
      .name = "ref",
      .description = "plain loops",
      .linear = linear,
      .linear_bf16 = linear_bf16,
      .attend = attend,
      .attend_kv = attend_kv,
      .row_dots = [](RowFormat, Products) { return RowDots::f32; },
      .kv_dots = [](RowFormat, RowFormat,
                    Products) { return std::array{RowDots::f32, RowDots::f32}; },
      .index_scores = index_scores,
      .index_scores_native = index_scores_native,
      .pool = pool,
      .rms_norm = rms_norm,
      .inverse_rms = inverse_rms,
      .rope = rope,
      .rope_halves = rope_halves,
      .swiglu = swiglu,
      .hc_coefficients = hc_coefficients,
      .hc_collapse = hc_collapse,
      .hc_expand = hc_expand,
      .add = add,
      .round_bf16 = round_bf16,
  };
  return kernels;
}

}  // namespace varve
