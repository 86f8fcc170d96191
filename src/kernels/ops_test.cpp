// Every op but linear and attention, of every kernel set: against ref in double-checked sizes, and
// equal under every split.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <string>
#include <vector>

#include "kernels/op_test.h"
#include "kernels/test_data.h"
#include "kernels/test_sets.h"

namespace varve {
namespace {

TEST(KernelSets, AreNamed) {
  for (const Kernels* set : test_sets()) fmt::print("{}\n", name(*set));
  EXPECT_TRUE(select_kernels("ref").has_value());
  EXPECT_TRUE(select_kernels("").has_value());
  EXPECT_FALSE(select_kernels("no such set").has_value());
}

TEST(IndexScores, NativeKeysAreEqualInEverySet) {
  for (const int dim : {2, 23, 24, 32, 34, 128, 130, 192, 277, 512, kMaxHeadDim}) {
    Rng rng(static_cast<uint64_t>(dim));
    constexpr int kHeads = 7, kKeys = 101, kQueries = 3;
    const RowShape shape{dim, 2, true};
    const size_t bytes = row_bytes(RowFormat::native, shape);
    const GuardedBytes keys(kKeys * bytes), weights = random_floats(rng, kQueries * kHeads);
    for (int k = 0; k < kKeys; ++k) {
      const GuardedBytes values = random_floats(rng, static_cast<size_t>(dim));
      encode_row(RowFormat::native, shape, values.as<float>(),
                 keys.as<std::byte>() + static_cast<size_t>(k) * bytes);
      // Scales at both ends of the range, and the one that is no number.
      const uint8_t extremes[] = {0, 1, 254, 255};
      if (k % 6 < 4) {
        keys.as<uint8_t>()[static_cast<size_t>(k + 1) * bytes - 1] =
            extremes[static_cast<size_t>(k % 6)];
      }
    }
    const auto padded = static_cast<size_t>(index_padded(dim));
    const auto groups = static_cast<size_t>(index_groups(dim));
    std::vector<int8_t> q(kQueries * kHeads * padded);
    std::vector<float> scales(kQueries * kHeads * groups);
    std::vector<int32_t> sums(kQueries * kHeads * groups);
    for (size_t h = 0; h < size_t{kQueries} * kHeads; ++h) {
      const GuardedBytes values = random_floats(rng, static_cast<size_t>(dim));
      quantize_index_query(values.as<float>(), dim, q.data() + h * padded,
                           scales.data() + h * groups, sums.data() + h * groups);
    }
    constexpr size_t kStride = kKeys + 5;
    const auto score = [&](const Kernels& set, int query, int n_queries, int begin, int end,
                           float* out) {
      const auto row = static_cast<size_t>(query) * kHeads;
      set.index_scores_native({.q = q.data() + row * padded,
                               .q_scales = scales.data() + row * groups,
                               .q_sums = sums.data() + row * groups,
                               .weights = weights.as<float>() + row,
                               .n_queries = n_queries,
                               .n_heads = kHeads,
                               .dim = dim,
                               .keys = keys.as<std::byte>() + static_cast<size_t>(begin) * bytes,
                               .n_keys = end - begin,
                               .scores = out + static_cast<size_t>(query) * kStride + begin,
                               .scores_stride = kStride});
    };
    std::vector<float> want(kQueries * kStride);
    score(ref_kernels(), 0, kQueries, 0, kKeys, want.data());
    for (const Kernels* set : test_sets()) {
      SCOPED_TRACE(fmt::format("{} dim {}", name(*set), dim));
      std::vector<float> parts(want.size()), single(want.size());
      for (int k = 0, step = 1; k < kKeys; k += step, step = step % 40 + 7) {
        score(*set, 0, kQueries, k, std::min(kKeys, k + step), parts.data());
      }
      EXPECT_TRUE(same(parts.data(), want.data(), want.size()));
      for (int query = 0; query < kQueries; ++query) {
        score(*set, query, 1, 0, kKeys, single.data());
      }
      EXPECT_TRUE(same(single.data(), want.data(), want.size()));
    }
  }
}

// Keys of any bytes, the largest dots among them, any number of heads.
TEST(IndexScores, NativeKeysOfAnyBytesAndHeads) {
  Rng rng(29);
  for (const int dim : {1, 31, 33, 63, 96, 127, 128, 161, kMaxHeadDim}) {
    const RowShape shape{dim, 0, true};
    const size_t bytes = row_bytes(RowFormat::native, shape);
    const auto padded = static_cast<size_t>(index_padded(dim));
    const auto groups = static_cast<size_t>(index_groups(dim));
    constexpr size_t kKeys = 70;
    const GuardedBytes keys(kKeys * bytes);
    for (size_t i = 0; i < kKeys * bytes; ++i) {
      const auto any = static_cast<uint8_t>(rng.next());
      const uint8_t extremes[] = {0x77, 0xFF};  // 6 and -6 twice
      keys.as<uint8_t>()[i] = i / bytes % 7 < 2 ? extremes[i / bytes % 7] : any;
    }
    for (size_t k = 0; k < kKeys; ++k) {
      if (k % 2 == 0) {  // scales near 1, so that the others do not hide the dots
        for (size_t g = 1; g <= groups; ++g) {
          keys.as<uint8_t>()[(k + 1) * bytes - g] = static_cast<uint8_t>(125 + rng.below(5));
        }
      }
    }
    for (const int n_heads : {1, 2, 3, 4, 5, 6, 7, 8, 9, 64}) {
      const auto n = static_cast<size_t>(n_heads);
      const GuardedBytes q(n * padded), scales(n * groups * sizeof(float)),
          sums(n * groups * sizeof(int32_t)), weights = random_floats(rng, n);
      for (size_t h = 0; h < n; ++h) {
        for (size_t i = 0; i < static_cast<size_t>(dim); ++i) {
          const int8_t extremes[] = {12, -12};
          const auto any = static_cast<int8_t>(2 * f32_from_e2m1(static_cast<uint8_t>(rng.next())));
          const int8_t code = h % 5 < 2 ? extremes[h % 5] : any;
          q.as<int8_t>()[h * padded + i] = code;
          sums.as<int32_t>()[h * groups + i / kE2m1Group] += code;
        }
        for (size_t g = 0; g < groups; ++g) {
          scales.as<float>()[h * groups + g] =
              0.25f * f32_from_e8m0(static_cast<uint8_t>(h % 9 == 8 ? rng.next() : 127));
        }
      }
      const auto score = [&](const Kernels& set, size_t begin, size_t end, float* out) {
        set.index_scores_native({q.as<int8_t>(), scales.as<float>(), sums.as<int32_t>(),
                                 weights.as<float>(), 1, n_heads, dim,
                                 keys.as<std::byte>() + begin * bytes,
                                 static_cast<int>(end - begin), out + begin, 0});
      };
      std::vector<float> want(kKeys);
      score(ref_kernels(), 0, kKeys, want.data());
      for (const Kernels* set : test_sets()) {
        std::vector<float> whole(kKeys), parts(kKeys);
        score(*set, 0, kKeys, whole.data());
        for (size_t k = 0, step = 1; k < kKeys; k += step, step = step * 3 % 37 + 1) {
          score(*set, k, std::min(kKeys, k + step), parts.data());
        }
        SCOPED_TRACE(fmt::format("{} heads {} dim {}", name(*set), n_heads, dim));
        ASSERT_TRUE(same(whole.data(), want.data(), kKeys));
        ASSERT_TRUE(same(parts.data(), want.data(), kKeys));
      }
    }
  }
}

TEST(IndexScores, OddShapesAndSplits) {
  Rng rng(3);
  for (const int dim : kSizes) {
    for (const int n_heads : {1, 5, 6, 7, 64}) {
      constexpr int kKeys = 150;
      const auto d = static_cast<size_t>(dim);
      const GuardedBytes q = random_floats(rng, static_cast<size_t>(n_heads) * d);
      const GuardedBytes weights = random_floats(rng, static_cast<size_t>(n_heads));
      const GuardedBytes keys = random_floats(rng, kKeys * d);
      std::vector<double> want(kKeys);
      for (size_t w = 0; w < kKeys; ++w) {
        for (size_t h = 0; h < static_cast<size_t>(n_heads); ++h) {
          double dot = 0;
          for (size_t i = 0; i < d; ++i) {
            dot += static_cast<double>(q.as<float>()[h * d + i]) *
                   static_cast<double>(keys.as<float>()[w * d + i]);
          }
          want[w] += static_cast<double>(weights.as<float>()[h]) * std::max(0.0, dot);
        }
      }
      for (const Kernels* set : test_sets()) {
        SCOPED_TRACE(fmt::format("{} heads {} dim {}", name(*set), n_heads, dim));
        GuardedBytes scores(kKeys * sizeof(float));
        set->index_scores({q.as<float>(), weights.as<float>(), n_heads, dim, keys.as<float>(),
                           kKeys, scores.as<float>()});
        const Comparison error = compare(scores.as<float>(), want.data(), kKeys);
        ASSERT_TRUE(error.within(1e-5)) << error.text();
        std::vector<float> parts(kKeys);
        for (int w = 0, step = 1; w < kKeys; w += step, step = step * 2 % 67 + 1) {
          const int n = std::min(step, kKeys - w);
          set->index_scores({q.as<float>(), weights.as<float>(), n_heads, dim,
                             keys.as<float>() + static_cast<size_t>(w) * d, n, parts.data() + w});
        }
        ASSERT_TRUE(same(parts.data(), scores.as<float>(), kKeys));
      }
    }
  }
}

TEST(Elementwise, AgreeWithReferenceAtEverySize) {
  const Kernels& ref = ref_kernels();
  Rng rng(5);
  std::vector<int> sizes(std::begin(kSizes), std::end(kSizes));
  sizes.push_back(4096);
  for (const int size : sizes) {
    const auto n = static_cast<size_t>(size);
    const GuardedBytes x = random_floats(rng, n), y = random_floats(rng, n);
    for (size_t i = 0; i < n; i += 7) x.as<float>()[i] *= 40.0f;  // beyond the clamp of swiglu
    for (const Kernels* set : test_sets()) {
      SCOPED_TRACE(fmt::format("{} n {}", name(*set), size));
      GuardedBytes got(n * sizeof(float));
      float* const out = got.as<float>();
      std::vector<float> want(n);
      for (const float* weight :
           {static_cast<const float*>(nullptr), static_cast<const float*>(y.as<float>())}) {
        set->rms_norm(x.as<float>(), weight, size, 1e-6f, out);
        ref.rms_norm(x.as<float>(), weight, size, 1e-6f, want.data());
        expect_close(out, want.data(), n, 1e-6);
      }
      EXPECT_NEAR(set->inverse_rms(x.as<float>(), size, 1e-6f),
                  ref.inverse_rms(x.as<float>(), size, 1e-6f),
                  1e-6f * ref.inverse_rms(x.as<float>(), size, 1e-6f));
      for (const float limit : {0.0f, 7.0f}) {
        set->swiglu(x.as<float>(), y.as<float>(), size, limit, 1.5f, out);
        ref.swiglu(x.as<float>(), y.as<float>(), size, limit, 1.5f, want.data());
        expect_close(out, want.data(), n, 1e-6);
        // An element by itself is the same element.
        for (size_t i = 0; i < n; i += 3) {
          float one;
          set->swiglu(x.as<float>() + i, y.as<float>() + i, 1, limit, 1.5f, &one);
          ASSERT_EQ(one, out[i]) << i;
        }
      }
      std::memcpy(out, y.as<float>(), n * sizeof(float));
      set->add(out, x.as<float>(), size);
      for (size_t i = 0; i < n; ++i) ASSERT_EQ(out[i], y.as<float>()[i] + x.as<float>()[i]);
    }
  }
}

TEST(Elementwise, RoundingIsEqualInEverySet) {
  Rng rng(7);
  std::vector<float> x;  // every kind of number, by bits
  x.reserve(5000);
  for (int i = 0; i < 4099; ++i) {
    x.push_back(std::bit_cast<float>(static_cast<uint32_t>(rng.next())));
  }
  for (const uint32_t bits : {0x3F808000u, 0x3F818000u, 0x7F7FFFFFu, 0x00000001u, 0x80000000u,
                              0x7F800000u, 0x7F800001u, 0xFFFFFFFFu}) {
    x.push_back(std::bit_cast<float>(bits));
  }
  for (const Kernels* set : test_sets()) {
    for (const size_t n : {size_t{1}, size_t{15}, size_t{33}, x.size()}) {
      std::vector<uint16_t> got(n), want(n);
      set->round_bf16(x.data() + (x.size() - n), n, got.data());
      ref_kernels().round_bf16(x.data() + (x.size() - n), n, want.data());
      EXPECT_EQ(got, want) << name(*set) << " n " << n;
    }
  }
}

TEST(Elementwise, SwigluOfExtremes) {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float gate[] = {-200, -100, -89, -88, -0.0f, 0, 1e-30f, 88, 200, inf, nan, 1, -1e38f, 3};
  const float up[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, nan, 2, inf};
  constexpr int kCount = 14;
  for (const Kernels* set : test_sets()) {
    for (const float limit : {0.0f, 7.0f}) {
      float got[kCount], want[kCount];
      set->swiglu(gate, up, kCount, limit, 1, got);
      ref_kernels().swiglu(gate, up, kCount, limit, 1, want);
      SCOPED_TRACE(name(*set));
      expect_close(got, want, kCount, 1e-6);
    }
  }
}

TEST(Rope, TurnsAndTurnsBack) {
  Rng rng(11);
  for (const int rope_dim : {2, 6, 16, 30, 32, 34, 64, 128}) {
    const auto n = static_cast<size_t>(rope_dim);
    const size_t stride = n + 5;
    constexpr size_t kVectors = 4;
    const GuardedBytes x = random_floats(rng, (kVectors - 1) * stride + n);
    const size_t total = (kVectors - 1) * stride + n;
    GuardedBytes cos(n / 2 * sizeof(float)), sin(n / 2 * sizeof(float));
    for (size_t i = 0; i < n / 2; ++i) {
      const float angle = 10 * rng.uniform();
      cos.as<float>()[i] = std::cos(angle);
      sin.as<float>()[i] = std::sin(angle);
    }
    for (const Kernels* set : test_sets()) {
      SCOPED_TRACE(fmt::format("{} rope_dim {}", name(*set), rope_dim));
      GuardedBytes got(total * sizeof(float));
      std::memcpy(got.as<float>(), x.as<float>(), total * sizeof(float));
      std::vector<float> want(x.as<float>(), x.as<float>() + total);
      set->rope(got.as<float>(), kVectors, stride, rope_dim, cos.as<float>(), sin.as<float>(),
                false);
      ref_kernels().rope(want.data(), kVectors, stride, rope_dim, cos.as<float>(), sin.as<float>(),
                         false);
      expect_close(got.as<float>(), want.data(), total, 1e-6);
      set->rope(got.as<float>(), kVectors, stride, rope_dim, cos.as<float>(), sin.as<float>(),
                true);
      expect_close(got.as<float>(), x.as<float>(), total, 1e-6);
    }
  }
}

TEST(Pool, OddShapesAndSplits) {
  Rng rng(13);
  for (const int dim : kSizes) {
    for (const int n_slots : {1, 4, 8, 128}) {
      const auto n = static_cast<size_t>(dim);
      std::vector<GuardedBytes> memory;
      std::vector<const float*> kv, score;
      for (int s = 0; s < n_slots; ++s) {
        memory.push_back(random_floats(rng, n));
        kv.push_back(memory.back().as<float>());
        memory.push_back(random_floats(rng, n));
        score.push_back(memory.back().as<float>());
      }
      // An empty slot.
      if (n_slots > 1) {
        std::fill_n(memory[1].as<float>(), n, -std::numeric_limits<float>::infinity());
      }
      std::vector<float> want(n);
      ref_kernels().pool({kv.data(), score.data(), n_slots, dim, want.data()});
      for (const Kernels* set : test_sets()) {
        SCOPED_TRACE(fmt::format("{} dim {} slots {}", name(*set), dim, n_slots));
        GuardedBytes out(n * sizeof(float));
        set->pool({kv.data(), score.data(), n_slots, dim, out.as<float>()});
        expect_close(out.as<float>(), want.data(), n, 1e-6);
        std::vector<const float*> kv_last, score_last;
        for (size_t s = 0; s < kv.size(); ++s) {
          kv_last.push_back(kv[s] + n - 1);
          score_last.push_back(score[s] + n - 1);
        }
        float last;
        set->pool({kv_last.data(), score_last.data(), n_slots, 1, &last});
        ASSERT_EQ(last, out.as<float>()[n - 1]);
      }
    }
  }
}

TEST(HyperConnections, AgreeWithReference) {
  Rng rng(17);
  for (const int hc : {1, 2, 4, 5, 64}) {
    for (const int dim : kSizes) {
      const auto n = static_cast<size_t>(dim), streams = static_cast<size_t>(hc);
      const GuardedBytes x = random_floats(rng, streams * n), y = random_floats(rng, n);
      const GuardedBytes mix = random_floats(rng, (2 + streams) * streams);
      const GuardedBytes base = random_floats(rng, (2 + streams) * streams);
      const float scale[3] = {0.5f, 1.5f, 0.7f};
      std::vector<float> pre(streams), post(streams), comb(streams * streams);
      ref_kernels().hc_coefficients({mix.as<float>(), scale, base.as<float>(), hc, 20, 1e-6f,
                                     pre.data(), post.data(), comb.data()});
      std::vector<float> want_collapsed(n);
      ref_kernels().hc_collapse(x.as<float>(), pre.data(), hc, dim, want_collapsed.data());
      std::vector<float> want(x.as<float>(), x.as<float>() + streams * n);
      ref_kernels().hc_expand(want.data(), y.as<float>(), post.data(), comb.data(), hc, dim);
      for (const Kernels* set : test_sets()) {
        SCOPED_TRACE(fmt::format("{} hc {} dim {}", name(*set), hc, dim));
        std::vector<float> got_pre(streams), got_post(streams), got_comb(streams * streams);
        set->hc_coefficients({mix.as<float>(), scale, base.as<float>(), hc, 20, 1e-6f,
                              got_pre.data(), got_post.data(), got_comb.data()});
        expect_close(got_pre.data(), pre.data(), streams, 1e-6);
        expect_close(got_post.data(), post.data(), streams, 1e-6);
        expect_close(got_comb.data(), comb.data(), comb.size(), 1e-5);
        GuardedBytes collapsed(n * sizeof(float));
        set->hc_collapse(x.as<float>(), pre.data(), hc, dim, collapsed.as<float>());
        expect_close(collapsed.as<float>(), want_collapsed.data(), n, 2e-6);
        GuardedBytes expanded(streams * n * sizeof(float));
        std::memcpy(expanded.as<float>(), x.as<float>(), streams * n * sizeof(float));
        set->hc_expand(expanded.as<float>(), y.as<float>(), post.data(), comb.data(), hc, dim);
        expect_close(expanded.as<float>(), want.data(), want.size(), 2e-6);
      }
    }
  }
}

}  // namespace
}  // namespace varve
