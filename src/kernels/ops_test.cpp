// Every op but linear, of every kernel set: against ref in double-checked sizes, and equal under
// every split.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <string>
#include <vector>

#include "kernels/compare.h"
#include "kernels/test_data.h"
#include "kernels/test_sets.h"

namespace varve {
namespace {

constexpr int kSizes[] = {1, 3, 15, 16, 17, 31, 33, 64, 100, 127, 128, 192, 257, 512};

struct alignas(64) WorkspaceLine {
  float values[16];
};
float* workspace() {
  static std::vector<WorkspaceLine> lines(kWorkspaceFloats / 16);
  return lines.front().values;
}

std::string name(const Kernels& set) {
  return fmt::format("{} ({})", set.name, set.description);
}

void expect_close(const float* got, const float* want, size_t n, double relative) {
  const Comparison error = compare(got, want, n);
  ASSERT_TRUE(error.within(relative)) << error.text();
}

bool same(const float* a, const float* b, size_t n) {
  return std::memcmp(a, b, n * sizeof(float)) == 0;
}

TEST(KernelSets, AreNamed) {
  for (const Kernels* set : test_sets()) fmt::print("{}\n", name(*set));
  EXPECT_TRUE(select_kernels("ref").has_value());
  EXPECT_TRUE(select_kernels("").has_value());
  EXPECT_FALSE(select_kernels("no such set").has_value());
}

void check_attend(int n_heads, int head_dim, int n_rows) {
  Rng rng(static_cast<uint64_t>(n_heads * 7919 + head_dim * 31 + n_rows));
  const auto dim = static_cast<size_t>(head_dim);
  const size_t n = static_cast<size_t>(n_heads) * dim;
  const GuardedBytes q = random_floats(rng, n),
                     sinks = random_floats(rng, static_cast<size_t>(n_heads));
  std::vector<GuardedBytes> memory;
  std::vector<const float*> rows;
  std::vector<AttendRow> stored;
  for (int k = 0; k < n_rows; ++k) {
    memory.push_back(random_floats(rng, dim));
    rows.push_back(memory.back().as<float>());
    stored.push_back({memory.back().as<std::byte>(), RowFormat::f32});
  }
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  // In double.
  std::vector<double> want(n);
  for (size_t h = 0; h < static_cast<size_t>(n_heads); ++h) {
    std::vector<double> score;
    double most = -std::numeric_limits<double>::infinity();
    for (const float* row : rows) {
      double sum = 0;
      for (size_t d = 0; d < dim; ++d) {
        sum += static_cast<double>(q.as<float>()[h * dim + d]) * static_cast<double>(row[d]);
      }
      score.push_back(sum * static_cast<double>(scale));
      most = std::max(most, score.back());
    }
    double total = std::exp(static_cast<double>(sinks.as<float>()[h]) - most);
    for (size_t k = 0; k < rows.size(); ++k) {
      const double p = std::exp(score[k] - most);
      total += p;
      for (size_t d = 0; d < dim; ++d) want[h * dim + d] += p * static_cast<double>(rows[k][d]);
    }
    for (size_t d = 0; d < dim; ++d) want[h * dim + d] /= total;
  }
  for (const Kernels* set : test_sets()) {
    SCOPED_TRACE(fmt::format("{} heads {} dim {} rows {}", name(*set), n_heads, head_dim, n_rows));
    GuardedBytes out(n * sizeof(float));
    set->attend({q.as<float>(), n_heads, head_dim, 0, stored.data(), n_rows, scale,
                 sinks.as<float>(), out.as<float>(), Products::f32, workspace()});
    const Comparison error = compare(out.as<float>(), want.data(), n);
    ASSERT_TRUE(error.within(2e-5)) << error.text();
    // Heads in parts, in place.
    std::vector<float> parts(q.as<float>(), q.as<float>() + n);
    for (int h = 0, step = 1; h < n_heads; h += step, step = step % 5 + 1) {
      const int count = std::min(step, n_heads - h);
      float* const at = parts.data() + static_cast<size_t>(h) * dim;
      set->attend({at, count, head_dim, 0, stored.data(), n_rows, scale, sinks.as<float>() + h, at,
                   Products::f32, workspace()});
    }
    ASSERT_TRUE(same(parts.data(), out.as<float>(), n));
  }
}

TEST(Attend, OddShapes) {
  for (const int dim : kSizes) check_attend(5, dim, 70);
  for (const int n_rows : {1, 2, 5, 63, 64, 65, 127, 128, 129, 200}) check_attend(3, 48, n_rows);
  for (const int n_heads : {1, 2, 4, 7, 64, 65, 130}) check_attend(n_heads, 64, 67);
  check_attend(2, 2048, 70);
  check_attend(2, 2045, 70);
}

TEST(Attend, FarScoresAndSinks) {
  // Scores that overflow exp, a maximum that moves in every tile, sinks that take everything.
  constexpr int kRows = 200;
  std::vector<float> values(kRows * 16);
  std::vector<AttendRow> rows;
  for (size_t k = 0; k < kRows; ++k) {
    for (size_t d = 0; d < 16; ++d)
      values[k * 16 + d] = static_cast<float>(k) + static_cast<float>(d);
    rows.push_back({reinterpret_cast<const std::byte*>(values.data() + k * 16), RowFormat::f32});
  }
  const std::vector<float> q(3 * 16, 0.5f);
  const float sinks[] = {-std::numeric_limits<float>::infinity(), 0, 1e6f};
  std::vector<float> want(3 * 16);
  for (const Kernels* set : test_sets()) {
    SCOPED_TRACE(name(*set));
    std::vector<float> out(3 * 16);
    set->attend({q.data(), 3, 16, 0, rows.data(), kRows, 1.0f, sinks, out.data(), Products::f32,
                 workspace()});
    if (set == test_sets().front()) want = out;
    expect_close(out.data(), want.data(), out.size(), 1e-5);
  }
}

// Rows of every format, mixed, and bf16 products: against the reference set, and bit-equal when the
// heads come in parts.
struct AttendShape {
  int dim, n_heads, n_rows;
  std::vector<RowFormat> formats;  // row k has formats[k % size]
};

// Random rows whose every tenth native one has a scale or a code from the ends of the range.
AttendRow stored_row(Rng& rng, const RowShape& shape, RowFormat format, int k,
                     std::vector<GuardedBytes>& memory) {
  const GuardedBytes values = random_floats(rng, static_cast<size_t>(shape.dim));
  memory.emplace_back(row_bytes(format, shape));
  auto* const row = memory.back().as<std::byte>();
  encode_row(format, shape, values.as<float>(), row);
  if (format == RowFormat::native && shape.dim > shape.rope_dim && k % 10 == 3) {
    constexpr uint8_t kScales[] = {1, 9, 10, 90, 130};  // 2^-126, ..., 2^3
    const int plain = shape.dim - shape.rope_dim;
    row[plain + 2 * shape.rope_dim] = std::byte{kScales[static_cast<size_t>(k) / 10 % 5]};
  }
  return {row, format};
}

void check_attend_formats(const AttendShape& s, Products products) {
  const int rope_dim = s.dim / 4 * 2;
  Rng rng(static_cast<uint64_t>(s.dim * 1000 + s.n_rows));
  const RowShape shape{s.dim, rope_dim, false};
  const auto n = static_cast<size_t>(s.n_heads) * static_cast<size_t>(s.dim);
  const GuardedBytes q = random_floats(rng, n),
                     sinks = random_floats(rng, static_cast<size_t>(s.n_heads));
  std::vector<GuardedBytes> memory;
  std::vector<AttendRow> rows;
  for (int k = 0; k < s.n_rows; ++k) {
    rows.push_back(
        stored_row(rng, shape, s.formats[static_cast<size_t>(k) % s.formats.size()], k, memory));
  }
  const float scale = 1.0f / std::sqrt(static_cast<float>(s.dim));
  const auto attend = [&](const Kernels& set, int h, int count, float* out) {
    set.attend({q.as<float>() + h * s.dim, count, s.dim, rope_dim, rows.data(), s.n_rows, scale,
                sinks.as<float>() + h, out, products, workspace()});
  };
  std::vector<float> want(n);
  attend(ref_kernels(), 0, s.n_heads, want.data());
  for (const Kernels* set : test_sets()) {
    SCOPED_TRACE(fmt::format("{} dim {} heads {} rows {} of {}", name(*set), s.dim, s.n_heads,
                             s.n_rows, row_format_name(s.formats.front())));
    std::vector<float> whole(n), parts(n);
    attend(*set, 0, s.n_heads, whole.data());
    // A probability next to a bf16 rounding step may take the other side of it.
    expect_close(whole.data(), want.data(), n, products == Products::f32 ? 1e-5 : 5e-3);
    for (int h = 0; h < s.n_heads; ++h) attend(*set, h, 1, parts.data() + h * s.dim);
    EXPECT_TRUE(same(parts.data(), whole.data(), n));
  }
}

TEST(Attend, RowFormatsAndProducts) {
  using enum RowFormat;
  // Lists of one format, which sets have kernels of their own for, and mixed ones.
  const std::vector<std::vector<RowFormat>> lists = {
      {native}, {bf16}, {native, bf16}, {f32, bf16, f16, native}};
  for (const Products products : {Products::f32, Products::bf16}) {
    for (const auto& formats : lists) {
      for (const int dim : {1, 16, 23, 31, 33, 96, 100, 128, 192}) {
        check_attend_formats({dim, 5, 150, formats}, products);
      }
      for (const int n_rows : {1, 2, 31, 32, 33, 63, 64, 65}) {
        check_attend_formats({100, 7, n_rows, formats}, products);
      }
      for (const int dim : {2045, 2048}) check_attend_formats({dim, 40, 66, formats}, products);
    }
  }
}

/// Whether `set` attends over stored rows as over f32 rows that hold what decode_row makes of them.
void check_stored_rows(const Kernels& set, const RowShape& shape,
                       const std::vector<AttendRow>& stored, const float* q,
                       Products products = Products::f32) {
  constexpr int kHeads = 3;
  const auto dim = static_cast<size_t>(shape.dim);
  const float sinks[kHeads] = {-std::numeric_limits<float>::infinity(), 0, 1};
  std::vector<float> values(stored.size() * dim);
  std::vector<AttendRow> decoded;
  for (size_t k = 0; k < stored.size(); ++k) {
    decode_row(stored[k].format, shape, stored[k].bytes, values.data() + k * dim);
    decoded.push_back(
        {reinterpret_cast<const std::byte*>(values.data() + k * dim), RowFormat::f32});
  }
  const auto attend = [&](const std::vector<AttendRow>& rows) {
    std::vector<float> out(kHeads * dim);
    set.attend({q, kHeads, shape.dim, shape.rope_dim, rows.data(), static_cast<int>(rows.size()),
                0.2f, sinks, out.data(), products, workspace()});
    return out;
  };
  const std::vector<float> got = attend(stored), want = attend(decoded);
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(want[i]) && std::isnan(got[i])) continue;
    ASSERT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want[i]))
        << name(set) << ", " << row_format_name(stored.front().format) << ", element " << i
        << " of " << shape.dim;
  }
}

TEST(Attend, StoredRowsAreTheirValues) {
  Rng rng(23);
  for (const RowFormat format : {RowFormat::bf16, RowFormat::f16, RowFormat::native}) {
    for (const int dim : kSizes) {
      for (const int rope_dim : {0, dim / 8 * 2, dim / 2 * 2}) {
        const RowShape shape{dim, rope_dim, false};
        const GuardedBytes q = random_floats(rng, 3 * static_cast<size_t>(dim));
        std::vector<GuardedBytes> memory;
        std::vector<AttendRow> rows;
        for (int k = 0; k < 67; ++k) {
          const GuardedBytes values = random_floats(rng, static_cast<size_t>(dim));
          memory.emplace_back(row_bytes(format, shape));
          encode_row(format, shape, values.as<float>(), memory.back().as<std::byte>());
          rows.push_back({memory.back().as<std::byte>(), format});
        }
        for (const Kernels* set : test_sets()) {
          ASSERT_NO_FATAL_FAILURE(check_stored_rows(*set, shape, rows, q.as<float>()));
        }
      }
    }
  }
}

// One row under a query of zeros: the output of the head whose sink takes nothing is the row.
TEST(Attend, EveryStoredValue) {
  const auto check = [](RowFormat format, const RowShape& shape, const std::vector<uint8_t>& row) {
    ASSERT_EQ(row.size(), row_bytes(format, shape));
    const std::vector<float> q(3 * static_cast<size_t>(shape.dim));
    const GuardedBytes bytes(row.size());
    std::memcpy(bytes.as<std::byte>(), row.data(), row.size());
    for (const Kernels* set : test_sets()) {
      const std::vector<AttendRow> stored = {{bytes.as<std::byte>(), format}};
      ASSERT_NO_FATAL_FAILURE(check_stored_rows(*set, shape, stored, q.data()));
      // Dot instructions read subnormal numbers, which native rows have none of, as zero.
      if (format != RowFormat::native) continue;
      ASSERT_NO_FATAL_FAILURE(check_stored_rows(*set, shape, stored, q.data(), Products::bf16));
    }
  };
  // Every code of e4m3 under every scale, but those whose product is no number: they would hide the
  // others. The groups are full ones and a short one.
  constexpr int kCodes = 254;
  for (size_t first = 0; first < 256; ++first) {
    std::vector<uint8_t> row, scales;
    for (size_t g = 0; g < 4; ++g) {
      scales.push_back(static_cast<uint8_t>(first + g < 255 ? first + g : first));
    }
    for (int code = 0; code < 256; ++code) {
      if (code % 128 == 127) continue;
      const float scale = f32_from_e8m0(scales[row.size() / 64]);
      const auto byte = static_cast<uint8_t>(code);
      row.push_back(std::isfinite(f32_from_e4m3(byte) * scale) ? byte : 0);
    }
    row.insert(row.end(), scales.begin(), scales.end());
    row.resize(row_bytes(RowFormat::native, {kCodes, 0, false}));
    ASSERT_NO_FATAL_FAILURE(check(RowFormat::native, {kCodes, 0, false}, row));
  }
  // The NaN codes, wherever they stand.
  for (size_t i = 0; i < 100; ++i) {
    std::vector<uint8_t> row(row_bytes(RowFormat::native, {100, 0, false}));
    row[100] = row[101] = 127;
    row[i] = i % 2 == 0 ? 0x7F : 0xFF;
    ASSERT_NO_FATAL_FAILURE(check(RowFormat::native, {100, 0, false}, row));
  }
  // Every 16-bit value; those that are no number by themselves.
  for (const RowFormat format : {RowFormat::bf16, RowFormat::f16}) {
    const uint32_t exponent = format == RowFormat::bf16 ? 0x7F80 : 0x7C00;
    std::vector<uint8_t> numbers;
    for (uint32_t bits = 0; bits < 65536; ++bits) {
      const std::vector<uint8_t> value = {static_cast<uint8_t>(bits),
                                          static_cast<uint8_t>(bits >> 8)};
      if ((bits & exponent) == exponent) {
        if (bits % 16 == 1) {
          ASSERT_NO_FATAL_FAILURE(check(format, {1, 0, false}, value));
        }
        continue;
      }
      numbers.insert(numbers.end(), value.begin(), value.end());
      if (numbers.size() == 2 * size_t{kMaxHeadDim}) {
        ASSERT_NO_FATAL_FAILURE(check(format, {kMaxHeadDim, 0, false}, numbers));
        numbers.clear();
      }
    }
    const auto left = static_cast<int>(numbers.size() / 2);
    if (left > 0) {
      ASSERT_NO_FATAL_FAILURE(check(format, {left, 0, false}, numbers));
    }
  }
}

// Exact integer dots: every set gives the same bits, however the keys are split.
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
