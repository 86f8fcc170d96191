// Norms, rotations, gates and the mixing of residual streams. Tails go through a filled-up copy
// and the same instructions, so an element's bits do not depend on where in a vector it stood.

#if defined(VARVE_SIMD_ELEMENTWISE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef VARVE_SIMD_ELEMENTWISE_INL_H
#undef VARVE_SIMD_ELEMENTWISE_INL_H
#else
#define VARVE_SIMD_ELEMENTWISE_INL_H
#endif

#include <cmath>

#include "kernels/simd_vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace varve {
namespace HWY_NAMESPACE {

/// The n <= kN values at p, then zeros.
HWY_INLINE VF load_some(const float* p, size_t n) {
  if (n >= kN) return load(p);
  float some[kN] = {};
  std::memcpy(some, p, n * sizeof(float));
  return load(some);
}

HWY_INLINE void store_some(VF v, float* p, size_t n) {
  if (n >= kN) {
    store(v, p);
    return;
  }
  float some[kN];
  store(v, some);
  std::memcpy(p, some, n * sizeof(float));
}

HWY_NOINLINE HWY_MAYBE_UNUSED float inverse_rms(const float* x, int n, float eps) {
  const auto count = static_cast<size_t>(n);
  VF sum[kParts];
  for (size_t part = 0; part < kParts; ++part) sum[part] = zero();
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (size_t part = 0; part < kParts; ++part) {
      const VF value = load(x + i + part * kN);
      sum[part] = hn::MulAdd(value, value, sum[part]);
    }
  }
  if (i < count) {
    float tail[kLanes];
    copy_padded(x + i, count - i, tail);
    for (size_t part = 0; part < kParts; ++part) {
      const VF value = load(tail + part * kN);
      sum[part] = hn::MulAdd(value, value, sum[part]);
    }
  }
  return 1.0f / std::sqrt(fold_lanes(sum) / static_cast<float>(n) + eps);
}

HWY_NOINLINE HWY_MAYBE_UNUSED void rms_norm(const float* x, const float* weight, int n, float eps,
                                            float* y) {
  const VF scale = set(inverse_rms(x, n, eps));
  const auto count = static_cast<size_t>(n);
  for (size_t i = 0; i < count; i += kN) {
    const size_t left = count - i;
    VF value = hn::Mul(load_some(x + i, left), scale);
    if (weight != nullptr) value = hn::Mul(load_some(weight + i, left), value);
    store_some(value, y + i, left);
  }
}

HWY_NOINLINE HWY_MAYBE_UNUSED void rope(float* x, int n_vectors, size_t stride, int rope_dim,
                                        const float* cos, const float* sin, bool inverse) {
  const DF df;
  const auto n_pairs = static_cast<size_t>(rope_dim / 2);
  for (int v = 0; v < n_vectors; ++v) {
    float* const vector = x + static_cast<size_t>(v) * stride;
    for (size_t i = 0; i < n_pairs; i += kN) {
      const size_t left = n_pairs - i;
      float* pairs = vector + 2 * i;
      float some[2 * kN] = {};
      if (left < kN) {
        std::memcpy(some, pairs, 2 * left * sizeof(float));
        pairs = some;
      }
      VF even, odd;
      hn::LoadInterleaved2(df, pairs, even, odd);
      const VF c = load_some(cos + i, left);
      VF s = load_some(sin + i, left);
      if (inverse) s = hn::Neg(s);
      const VF turned_even = hn::MulSub(even, c, hn::Mul(odd, s));
      const VF turned_odd = hn::MulAdd(odd, c, hn::Mul(even, s));
      hn::StoreInterleaved2(turned_even, turned_odd, df, pairs);
      if (left < kN) std::memcpy(vector + 2 * i, some, 2 * left * sizeof(float));
    }
  }
}

HWY_NOINLINE HWY_MAYBE_UNUSED void rope_halves(float* x, int n_vectors, size_t stride, int rope_dim,
                                               const float* cos, const float* sin) {
  const auto half = static_cast<size_t>(rope_dim / 2);
  for (int v = 0; v < n_vectors; ++v) {
    float* const vector = x + static_cast<size_t>(v) * stride;
    for (size_t i = 0; i < half; i += kN) {
      const size_t left = half - i;
      const VF first = load_some(vector + i, left), second = load_some(vector + half + i, left);
      const VF c = load_some(cos + i, left), s = load_some(sin + i, left);
      store_some(hn::MulSub(first, c, hn::Mul(second, s)), vector + i, left);
      store_some(hn::MulAdd(second, c, hn::Mul(first, s)), vector + half + i, left);
    }
  }
}

HWY_NOINLINE HWY_MAYBE_UNUSED void swiglu(const float* gate, const float* up, int n, float limit,
                                          float scale, float* out) {
  const VF one = set(1.0f), most = set(limit), least = set(-limit);
  const auto count = static_cast<size_t>(n);
  for (size_t i = 0; i < count; i += kN) {
    const size_t left = count - i;
    VF g = load_some(gate + i, left), u = load_some(up + i, left);
    if (limit > 0) {  // operands in the order that lets NaN through
      g = hn::IfThenElse(hn::Lt(most, g), most, g);
      u = hn::IfThenElse(hn::Lt(most, u), most, hn::IfThenElse(hn::Lt(u, least), least, u));
    }
    const VF silu = hn::Div(g, hn::Add(one, exp(hn::Neg(g))));
    store_some(hn::Mul(hn::Mul(silu, u), set(scale)), out + i, left);
  }
}

HWY_NOINLINE HWY_MAYBE_UNUSED void pool(const PoolArgs& a) {
  const auto dim = static_cast<size_t>(a.dim);
  for (size_t d = 0; d < dim; d += kN) {
    const size_t left = dim - d;
    VF most = set(-std::numeric_limits<float>::infinity());
    for (int s = 0; s < a.n_slots; ++s) most = hn::Max(most, load_some(a.score[s] + d, left));
    VF sum = zero(), weighted = zero();
    for (int s = 0; s < a.n_slots; ++s) {
      const VF p = exp(hn::Sub(load_some(a.score[s] + d, left), most));
      sum = hn::Add(sum, p);
      weighted = hn::MulAdd(p, load_some(a.kv[s] + d, left), weighted);
    }
    store_some(hn::Div(weighted, sum), a.out + d, left);
  }
}

HWY_NOINLINE HWY_MAYBE_UNUSED void hc_collapse(const float* streams, const float* pre, int hc,
                                               int dim, float* y) {
  const auto n = static_cast<size_t>(dim);
  for (size_t d = 0; d < n; d += kN) {
    const size_t left = n - d;
    VF sum = zero();
    for (int j = 0; j < hc; ++j) {
      sum = hn::MulAdd(set(pre[j]), load_some(streams + static_cast<size_t>(j) * n + d, left), sum);
    }
    store_some(sum, y + d, left);
  }
}

HWY_NOINLINE HWY_MAYBE_UNUSED void hc_expand(float* streams, const float* y, const float* post,
                                             const float* comb, int hc, int dim) {
  const auto n = static_cast<size_t>(dim);
  alignas(64) float old[kMaxStreams * kN];
  for (size_t d = 0; d < n; d += kN) {
    const size_t left = n - d;
    for (int j = 0; j < hc; ++j) {
      store(load_some(streams + static_cast<size_t>(j) * n + d, left),
            old + static_cast<size_t>(j) * kN);
    }
    const VF value = load_some(y + d, left);
    for (int k = 0; k < hc; ++k) {
      VF sum = hn::Mul(set(post[k]), value);
      for (int j = 0; j < hc; ++j) {
        sum = hn::MulAdd(set(comb[j * hc + k]), load(old + static_cast<size_t>(j) * kN), sum);
      }
      store_some(sum, streams + static_cast<size_t>(k) * n + d, left);
    }
  }
}

HWY_NOINLINE HWY_MAYBE_UNUSED void add(float* y, const float* x, int n) {
  const auto count = static_cast<size_t>(n);
  for (size_t i = 0; i < count; i += kN) {
    const size_t left = count - i;
    store_some(hn::Add(load_some(y + i, left), load_some(x + i, left)), y + i, left);
  }
}

HWY_NOINLINE HWY_MAYBE_UNUSED void round_bf16(const float* x, size_t n, uint16_t* y) {
  const hn::Rebind<uint16_t, DF> d16;
  size_t i = 0;
  for (; i + kN <= n; i += kN) {
    hn::StoreU(hn::TruncateTo(d16, bf16_bits(load(x + i))), d16, y + i);
  }
  for (; i < n; ++i) y[i] = bf16_from_f32(x[i]);
}

}  // namespace HWY_NAMESPACE
}  // namespace varve
HWY_AFTER_NAMESPACE();

#endif  // VARVE_SIMD_ELEMENTWISE_INL_H
