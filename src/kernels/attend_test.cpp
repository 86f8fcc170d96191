// Attention of every kernel set: against plain sums, and equal under every split.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernels/op_test.h"
#include "kernels/test_data.h"
#include "kernels/test_sets.h"
#include "tensor/kv_tile.h"

namespace varve {
namespace {

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
    // Rows in two parts, put together here.
    const int cut = n_rows / 3;
    if (cut == 0) continue;
    std::vector<float> max[2], sum[2], values[2];
    for (int part = 0; part < 2; ++part) {
      max[part].resize(static_cast<size_t>(n_heads));
      sum[part].resize(static_cast<size_t>(n_heads));
      values[part].resize(n);
      set->attend({q.as<float>(), n_heads, head_dim, 0, stored.data() + (part == 0 ? 0 : cut),
                   part == 0 ? cut : n_rows - cut, scale, nullptr, values[part].data(),
                   Products::f32, workspace(), max[part].data(), sum[part].data()});
    }
    for (size_t i = 0; i < n; ++i) {
      const size_t h = i / dim;
      const double most = std::max(max[0][h], max[1][h]);
      double total = std::exp(static_cast<double>(sinks.as<float>()[h]) - most), value = 0;
      for (int part = 0; part < 2; ++part) {
        const double factor = std::exp(static_cast<double>(max[part][h]) - most);
        total += factor * static_cast<double>(sum[part][h]);
        value += factor * static_cast<double>(values[part][i]);
      }
      parts[i] = static_cast<float>(value / total);
    }
    const Comparison of_parts = compare(parts.data(), want.data(), n);
    ASSERT_TRUE(of_parts.within(2e-5)) << of_parts.text();
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
      {native},       {bf16}, {native, bf16}, {f32, bf16, f16, native}, {fp8}, {q8_0}, {q4_1, bf16},
      {q5_0, native}, {q5_1}, {q4_0},         {mxfp4, bf16, f16}};
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
  for (const RowFormatInfo& info : row_formats()) {
    const RowFormat format = info.format;
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
struct KvCase {
  int head_dim = 64, n_heads = 3, n_queries = 5, position = 200, window = 0, begin = 0;
  int first = 0, lag = 0;
  int end = 1 << 30;
  RowFormat k_format = RowFormat::f32, v_format = RowFormat::f32;
  Products products = Products::f32;
};

// Runs of rows of one KV head, and queries over them.
class KvData {
 public:
  explicit KvData(const KvCase& c) : case_(c) {
    Rng rng(static_cast<uint64_t>(c.head_dim * 1000 + c.position));
    const auto dim = static_cast<size_t>(c.head_dim);
    const RowShape shape{c.head_dim, 0, false};
    const int end = c.position + c.n_queries;
    q_ = random_floats(rng, static_cast<size_t>(c.n_queries * c.n_heads) * dim);
    for (int first = 0; first < end; first += kRunRows) {
      // Rows behind the last query's are not there.
      const auto n = static_cast<size_t>(std::min(kRunRows, end - first));
      std::byte* const keys = take_rows(c.k_format, shape, n);
      std::byte* const values = take_rows(c.v_format, shape, n);
      for (size_t i = 0; i < n; ++i) {
        const GuardedBytes k = random_floats(rng, dim), v = random_floats(rng, dim);
        const int row = static_cast<int>(i);
        store_kv_row(c.k_format, KvSide::keys, shape, k.as<float>(), row, keys);
        store_kv_row(c.v_format, KvSide::values, shape, v.as<float>(), row, values);
        keys_.emplace_back(dim);
        values_.emplace_back(dim);
        load_kv_row(c.k_format, KvSide::keys, shape, keys, row, keys_.back().data());
        load_kv_row(c.v_format, KvSide::values, shape, values, row, values_.back().data());
      }
      runs_.push_back({keys, values});
    }
  }

  struct Out {
    explicit Out(const KvCase& c)
        : max(static_cast<size_t>(c.n_queries * c.n_heads)),
          sum(max.size()),
          values(max.size() * static_cast<size_t>(c.head_dim)) {}
    std::vector<float> max, sum, values;
  };

  // Queries [first, first + n) of `set`, into their place of `out`.
  void run(const Kernels& set, int first, int n, Out& out) const {
    const KvCase& c = case_;
    const auto head = static_cast<size_t>(first * c.n_heads);
    const auto dim = static_cast<size_t>(c.head_dim);
    const int first_run = c.begin / kRunRows;
    set.attend_kv({q_.as<float>() + head * dim,
                   static_cast<size_t>(c.n_heads) * dim,
                   n,
                   c.n_heads,
                   c.head_dim,
                   c.position + first,
                   c.window,
                   c.first,
                   c.lag,
                   c.begin,
                   std::min(c.end, c.position + c.n_queries),
                   runs_.data() + first_run,
                   first_run,
                   kRunRows,
                   c.k_format,
                   c.v_format,
                   scale(),
                   c.products,
                   out.max.data() + head,
                   out.sum.data() + head,
                   out.values.data() + head * dim,
                   workspace()});
  }

  // In double: values / sum, max + log(sum).
  void expect_right(const Out& out, double tolerance) const {
    const KvCase& c = case_;
    const auto dim = static_cast<size_t>(c.head_dim);
    for (int i = 0; i < c.n_queries; ++i) {
      const int t = c.position + i;
      const int first = std::max({c.begin, c.first, c.window == 0 ? 0 : t - c.window + 1});
      for (int h = 0; h < c.n_heads; ++h) {
        const auto head = static_cast<size_t>(i * c.n_heads + h);
        const int end = std::min(t + 1 - c.lag, c.end);
        if (first >= end) {
          EXPECT_EQ(out.sum[head], 0);
          continue;
        }
        double total = 0;
        std::vector<double> want(dim);
        for (int p = first; p < end; ++p) {
          const auto& key = keys_[static_cast<size_t>(p)];
          double score = 0;
          for (size_t d = 0; d < dim; ++d) {
            float q = q_.as<float>()[head * dim + d];
            if (c.products == Products::bf16) q = round_to_bf16(q);
            score += static_cast<double>(q) * static_cast<double>(key[d]);
          }
          const double weight =
              std::exp(static_cast<double>(scale()) * score - static_cast<double>(out.max[head]));
          total += weight;
          for (size_t d = 0; d < dim; ++d) {
            want[d] += weight * static_cast<double>(values_[static_cast<size_t>(p)][d]);
          }
        }
        ASSERT_NEAR(out.sum[head], total, tolerance * total);
        for (size_t d = 0; d < dim; ++d) {
          ASSERT_NEAR(out.values[head * dim + d] / out.sum[head], want[d] / total, tolerance);
        }
      }
    }
  }

 private:
  static constexpr int kRunRows = 128;
  // Room for n rows, whole tiles of them; what nobody writes reads as NaN.
  std::byte* take_rows(RowFormat format, const RowShape& shape, size_t n) {
    if (group_format(format) != nullptr) n = (n + kKvTileRows - 1) / kKvTileRows * kKvTileRows;
    memory_.emplace_back(n * row_bytes(format, shape));
    std::memset(memory_.back().as<std::byte>(), 0xFF, n * row_bytes(format, shape));
    return memory_.back().as<std::byte>();
  }
  float scale() const { return 1 / std::sqrt(static_cast<float>(case_.head_dim)); }
  KvCase case_;
  GuardedBytes q_{0};
  std::vector<GuardedBytes> memory_;
  std::vector<KvRun> runs_;
  std::vector<std::vector<float>> keys_, values_;
};

void check_attend_kv(const KvCase& c) {
  const KvData data(c);
  for (const Kernels* set : test_sets()) {
    SCOPED_TRACE(fmt::format("{} dim {} heads {} queries {} at {} window {} from {} {}/{} {}",
                             name(*set), c.head_dim, c.n_heads, c.n_queries, c.position, c.window,
                             c.begin, row_format_name(c.k_format), row_format_name(c.v_format),
                             c.products == Products::f32 ? "f32" : "bf16"));
    KvData::Out all(c), parts(c);
    data.run(*set, 0, c.n_queries, all);
    data.expect_right(all, c.products == Products::f32 ? 2e-5 : 2e-2);
    // One by one, and in uneven parts.
    for (int i = 0; i < c.n_queries; ++i) data.run(*set, i, 1, parts);
    EXPECT_TRUE(same(parts.values.data(), all.values.data(), all.values.size()));
    EXPECT_TRUE(same(parts.sum.data(), all.sum.data(), all.sum.size()));
    EXPECT_TRUE(same(parts.max.data(), all.max.data(), all.max.size()));
    for (int i = 0, n = 1; i < c.n_queries; i += n, n = n % 3 + 1) {
      data.run(*set, i, std::min(n, c.n_queries - i), parts);
    }
    EXPECT_TRUE(same(parts.values.data(), all.values.data(), all.values.size()));
  }
}

TEST(AttendKv, QuantizedRows) {
  for (const Products products : {Products::f32, Products::bf16}) {
    for (const RowFormatInfo& k : row_formats()) {
      for (const RowFormatInfo& v : row_formats()) {
        const bool one = k.format == v.format || v.format == RowFormat::bf16 ||
                         k.format == RowFormat::bf16 || v.format == RowFormat::q4_0;
        if (k.format == RowFormat::native || v.format == RowFormat::native || !one) continue;
        const auto check = [&](KvCase c) {
          c.k_format = k.format;
          c.v_format = v.format;
          c.products = products;
          ASSERT_NO_FATAL_FAILURE(check_attend_kv(c));
        };
        check({});
        check({.head_dim = 40, .n_queries = 3, .position = 77, .first = 4});
        check({.head_dim = 128, .n_heads = 7, .n_queries = 2, .position = 130, .first = 4});
        check({.n_heads = 2, .n_queries = 70, .position = 30, .first = 4, .lag = 33});
        check({.n_queries = 70, .position = 150, .window = 50, .begin = 64, .lag = 20});
        check({.n_queries = 70, .position = 10, .window = 50, .lag = 16, .end = 3});
      }
    }
  }
}

TEST(AttendKv, OddShapes) {
  for (const Products products : {Products::f32, Products::bf16}) {
    const auto check = [&](KvCase c) {
      c.products = products;
      ASSERT_NO_FATAL_FAILURE(check_attend_kv(c));
    };
    for (const int dim : {2, 16, 30, 32, 64, 80, 96, 128, 256}) check({.head_dim = dim});
    for (const int position : {0, 1, 62, 63, 64, 126, 127, 128, 300}) check({.position = position});
    for (const int n_heads : {1, 2, 7, 64, 65}) check({.n_heads = n_heads, .n_queries = 2});
    check({.n_heads = 2, .n_queries = 70, .position = 30});
    check({.head_dim = kMaxHeadDim, .n_heads = 40, .n_queries = 2, .position = 70});
    for (const int window : {1, 2, 48, 63, 64, 65, 128, 300}) {
      check({.n_queries = 70, .position = 100, .window = window});
    }
    // A part of what is seen; a window that ends before it for some.
    check({.n_queries = 70, .position = 128, .begin = 128});
    check({.n_queries = 70, .position = 150, .window = 20, .begin = 128});
    for (const RowFormat k : {RowFormat::f32, RowFormat::bf16, RowFormat::f16}) {
      for (const RowFormat v : {RowFormat::f32, RowFormat::bf16, RowFormat::f16}) {
        check({.head_dim = 40, .k_format = k, .v_format = v});
      }
    }
  }
}

}  // namespace
}  // namespace varve
