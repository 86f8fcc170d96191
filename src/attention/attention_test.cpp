// Attention over many rows: the same bits however a segment and its threads share it out, and what
// one softmax over all rows gives.
#include "attention/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "kernels/op_test.h"
#include "kernels/test_data.h"

namespace varve {
namespace {

constexpr int kQueries = 4;
constexpr int kRopeDim = 16;

struct Shape {
  int n_heads, head_dim;
  int n_rows;   // that the last query sees
  int n_parts;  // that there is room for; 1: none is set aside
};

// Latents of n_rows tokens, and queries at the last kQueries of them.
class Attended {
 public:
  explicit Attended(const Shape& shape)
      : shape_(shape),
        scale_(1 / std::sqrt(static_cast<float>(shape.head_dim))),
        cache_({.layers = {{.kind = LayerKind::mla,
                            .ratio = 1,
                            .head_dim = shape.head_dim,
                            .rope_dim = kRopeDim}}},
               {.ctx_tokens = shape.n_rows, .resume_points = 0}) {
    ArenaBuilder dry;
    cache_.lay_out(dry);
    memory_ = Arena::create(dry.bytes()).value();
    ArenaBuilder builder(memory_.data());
    cache_.lay_out(builder);
    sequence_ = cache_.new_sequence().value();
    Rng rng(static_cast<uint64_t>(shape.n_rows));
    rows_ = draw(rng, shape.n_rows * shape.head_dim);
    q_ = draw(rng, kQueries * heads_dim());
    sinks_ = draw(rng, shape.n_heads);
    EXPECT_TRUE(sequence_.reserve(shape.n_rows));
    for (int w = 0; w < shape.n_rows; ++w) {
      sequence_.store_entry(0, w, rows_.data() + static_cast<size_t>(w * shape.head_dim));
    }
  }

  // [kQueries, n_heads * head_dim], of segments of at most `chunk` tokens.
  std::vector<float> run(const Kernels& kernels, int n_threads, int chunk) {
    ThreadPool pool(n_threads);
    Exec exec(kernels, pool, Products::f32);
    Attention attention;
    const auto lay_out = [&](ArenaBuilder& arena) {
      exec.lay_out(arena, 0);
      attention.lay_out(arena, n_threads, shape_.n_heads, shape_.head_dim, shape_.n_rows);
    };
    ArenaBuilder dry;
    lay_out(dry);
    EXPECT_EQ(parts_in(dry), shape_.n_parts);
    Arena memory = Arena::create(dry.bytes()).value();
    ArenaBuilder builder(memory.data());
    lay_out(builder);
    std::vector<float> out(q_.size());
    const int first_position = shape_.n_rows - kQueries;
    for (int first = 0; first < kQueries; first += chunk) {
      const size_t at = static_cast<size_t>(first * heads_dim());
      attention.attend(exec,
                       {.q = q_.data() + at,
                        .n_heads = shape_.n_heads,
                        .head_dim = shape_.head_dim,
                        .window_rows = nullptr,
                        .sinks = sinks_.data(),
                        .scale = scale_,
                        .picks = nullptr,
                        .counts = nullptr,
                        .topk = 0,
                        .out = out.data() + at},
                       {.sequence = &sequence_,
                        .first = 0,
                        .n = std::min(chunk, kQueries - first),
                        .start = first_position + first},
                       /*layer=*/0);
    }
    return out;
  }

  // The same as one softmax of each head, in double.
  std::vector<double> expected() const {
    std::vector<double> out(q_.size());
    for (int t = 0; t < kQueries; ++t) {
      for (int h = 0; h < shape_.n_heads; ++h) {
        const auto at = static_cast<size_t>(t * heads_dim() + h * shape_.head_dim);
        softmax(q_.data() + at, sinks_[static_cast<size_t>(h)], shape_.n_rows - kQueries + t + 1,
                out.data() + at);
      }
    }
    return out;
  }

 private:
  int heads_dim() const { return shape_.n_heads * shape_.head_dim; }

  static std::vector<float> draw(Rng& rng, int n) {
    std::vector<float> values(static_cast<size_t>(n));
    for (float& value : values) value = rng.normal();
    return values;
  }

  int parts_in(const ArenaBuilder& arena) const {
    const size_t of_part =
        static_cast<size_t>(shape_.n_heads) * static_cast<size_t>(shape_.head_dim + 2) * 4;
    for (const ArenaPart& part : arena.parts()) {
      if (part.name == "attention partials") return static_cast<int>(part.bytes / of_part);
    }
    return 1;
  }

  void softmax(const float* q, float sink, int n, double* out) const {
    const auto dim = static_cast<size_t>(shape_.head_dim);
    std::vector<double> scores(static_cast<size_t>(n));
    double most = static_cast<double>(sink);
    for (size_t k = 0; k < scores.size(); ++k) {
      double sum = 0;
      for (size_t d = 0; d < dim; ++d) {
        sum += static_cast<double>(q[d]) * static_cast<double>(rows_[k * dim + d]);
      }
      scores[k] = sum * static_cast<double>(scale_);
      most = std::max(most, scores[k]);
    }
    double total = std::exp(static_cast<double>(sink) - most);
    for (size_t k = 0; k < scores.size(); ++k) {
      const double p = std::exp(scores[k] - most);
      total += p;
      for (size_t d = 0; d < dim; ++d) out[d] += p * static_cast<double>(rows_[k * dim + d]);
    }
    for (size_t d = 0; d < dim; ++d) out[d] /= total;
  }

  Shape shape_;
  float scale_;
  Cache cache_;
  Arena memory_;
  Sequence sequence_;
  std::vector<float> rows_, q_, sinks_;
};

class ManyRows : public testing::TestWithParam<Shape> {};

// One thread takes a token whole, several share it out part by part and head by head: chunks and
// threads choose between the two.
TEST_P(ManyRows, AreOneSoftmaxHoweverTheyAreSharedOut) {
  Attended attended(GetParam());
  const std::vector<double> want = attended.expected();
  for (const Kernels* set : available_kernels()) {
    const std::vector<float> first = attended.run(*set, 1, 1);
    const Comparison error = compare(first.data(), want.data(), want.size());
    ASSERT_TRUE(error.within(2e-5)) << name(*set) << ": " << error.text();
    for (const auto& [threads, chunk] : {std::pair{1, kQueries}, {2, kQueries}, {3, 1}, {8, 2}}) {
      const std::vector<float> other = attended.run(*set, threads, chunk);
      EXPECT_TRUE(same(other.data(), first.data(), first.size()))
          << name(*set) << ", " << threads << " threads, chunks of " << chunk;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, ManyRows,
    testing::Values(Shape{5, 64, 1026, 2},      // some queries see one part, some two
                    Shape{34, 48, 2050, 4},     // two or three parts of four
                    Shape{33, 32, 9216, 16},    // 16 parts of whole tiles
                    Shape{40, 24, 20000, 16},   // no more of them: parts grow
                    Shape{33, 1000, 4100, 4},   // 8 of 33 heads would be beyond 1 MiB
                    Shape{65, 2040, 1030, 1}),  // and so would 2
    [](const auto& param) {
      const Shape& s = param.param;
      return fmt::format("{}_heads_of_{}_and_{}_rows", s.n_heads, s.head_dim, s.n_rows);
    });

}  // namespace
}  // namespace varve
