// Linear layers of every kernel set: right, equal under every split, and inside their memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/arena.h"
#include "kernels/compare.h"
#include "kernels/exec.h"
#include "kernels/test_data.h"
#include "kernels/test_sets.h"

namespace varve {
namespace {

std::string text(const Kernels& set, const WeightShape& s, int n_tokens) {
  return fmt::format("{} ({}) {} [{}, {}] scales {}x{} of {} first_row {} tokens {}", set.name,
                     set.description, dtype_name(s.type), s.n_rows, s.n_cols, s.scale_rows,
                     s.scale_cols, dtype_name(s.scale_type), s.first_row, n_tokens);
}

class Workspace {
 public:
  float* get() { return lines_.front().values; }

 private:
  struct alignas(64) Line {
    float values[16];
  };
  std::vector<Line> lines_ = std::vector<Line>(kWorkspaceFloats / 16);
};

// The ops over the same inputs, called alike.
struct Inputs {
  GuardedBytes x, x_bf16;
  size_t stride;
};

Inputs random_inputs(Rng& rng, int n_tokens, int n_cols, bool bf16_values) {
  const auto n = static_cast<size_t>(n_tokens) * static_cast<size_t>(n_cols);
  Inputs in{random_floats(rng, n), GuardedBytes(n * 2), static_cast<size_t>(n_cols)};
  for (size_t i = 0; i < n; ++i) {
    float& value = in.x.as<float>()[i];
    if (bf16_values) value = round_to_bf16(value);
    in.x_bf16.as<uint16_t>()[i] = bf16_from_f32(value);
  }
  return in;
}

/// With bf16: as Exec calls the set, the groups of linear_blocks made of the bf16 inputs.
void call(const Kernels& set, bool bf16, const Weight& w, int begin, int end, const Inputs& in,
          int first_token, int n_tokens, float* y, float* workspace) {
  const size_t offset = static_cast<size_t>(first_token) * in.stride;
  const auto y_stride = static_cast<size_t>(w.n_rows);
  y += static_cast<size_t>(first_token) * y_stride;
  if (bf16 && set.linear_blocks != nullptr && dtype_is_block(w.type)) {
    const size_t n_groups = in.stride / InputGroup::kSize, n = static_cast<size_t>(n_tokens);
    std::vector<float> x(n * in.stride);
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] = f32_from_bf16(in.x_bf16.as<uint16_t>()[offset + i]);
    }
    GuardedBytes groups(n * n_groups * sizeof(InputGroup));
    set.group_inputs(x.data(), x.size(), groups.as<InputGroup>());
    set.linear_blocks(
        {&w, begin, end, groups.as<InputGroup>(), n_groups, n_tokens, y, y_stride, workspace});
  } else if (bf16) {
    set.linear_bf16({&w, begin, end, in.x_bf16.as<uint16_t>() + offset, in.stride, n_tokens, y,
                     y_stride, workspace});
  } else {
    set.linear(
        {&w, begin, end, in.x.as<float>() + offset, in.stride, n_tokens, y, y_stride, workspace});
  }
}

void check(const WeightShape& shape, int n_tokens) {
  Rng rng(static_cast<uint64_t>(shape.n_cols * 131 + n_tokens));
  const OwnedWeight owned = random_weight(rng, shape);
  const Weight& w = owned.weight;
  static Workspace workspace;
  const auto n_rows = static_cast<size_t>(w.n_rows);
  const size_t n = n_rows * static_cast<size_t>(n_tokens);
  for (const bool bf16 : {false, true}) {
    const Inputs in = random_inputs(rng, n_tokens, w.n_cols, bf16);
    std::vector<double> want(n);
    std::vector<float> row(static_cast<size_t>(w.n_cols));
    for (size_t r = 0; r < n_rows; ++r) {
      decode_row(w, static_cast<int>(r), row);
      for (size_t t = 0; t < static_cast<size_t>(n_tokens); ++t) {
        for (size_t c = 0; c < row.size(); ++c) {
          want[t * n_rows + r] += static_cast<double>(row[c]) *
                                  static_cast<double>(in.x.as<float>()[t * in.stride + c]);
        }
      }
    }
    std::vector<float> fused;  // of the first set with fused multiply-add
    for (const Kernels* set : test_sets()) {
      SCOPED_TRACE(text(*set, shape, n_tokens) + (bf16 ? " bf16" : " f32"));
      GuardedBytes y(n * sizeof(float));
      call(*set, bf16, w, 0, w.n_rows, in, 0, n_tokens, y.as<float>(), workspace.get());
      const Comparison error = compare(y.as<float>(), want.data(), n);
      ASSERT_TRUE(error.within(1e-4)) << error.text();
      // Rows and tokens in uneven parts.
      std::vector<float> parts(n);
      for (int begin = 0, step = 1; begin < w.n_rows; begin += step, step = step % 5 + 1) {
        const int end = std::min(begin + step, w.n_rows);
        for (int t = 0, count = 1; t < n_tokens; t += count, count = count % 3 + 1) {
          call(*set, bf16, w, begin, end, in, t, std::min(count, n_tokens - t), parts.data(),
               workspace.get());
        }
      }
      ASSERT_EQ(std::memcmp(parts.data(), y.as<float>(), n * sizeof(float)), 0);
      // A slice of the rows is the same rows.
      const int skip = w.n_rows / 2;
      const Weight slice = w.rows(skip, w.n_rows - skip);
      std::vector<float> sliced(n);
      call(*set, bf16, slice, 0, slice.n_rows, in, 0, 1, sliced.data(), workspace.get());
      for (int r = 0; r < slice.n_rows; ++r) {
        ASSERT_EQ(sliced[static_cast<size_t>(r)], y.as<float>()[skip + r]) << r;
      }
      if (set->name == "simd" && set->description != "SSE4") {
        if (fused.empty()) fused.assign(y.as<float>(), y.as<float>() + n);
        ASSERT_EQ(std::memcmp(fused.data(), y.as<float>(), n * sizeof(float)), 0);
      }
    }
  }
}

constexpr int kColumns[] = {1, 3, 15, 16, 17, 31, 33, 64, 100, 127, 128, 192, 257, 512, 1000};

TEST(Linear, AllTypesAtOddWidths) {
  for (const DType type : {DType::f32, DType::bf16, DType::f16, DType::f8_e4m3, DType::e2m1x2}) {
    for (const int n_cols : kColumns) {
      check({.type = type, .n_rows = 9, .n_cols = n_cols}, 8);
      if (HasFatalFailure()) return;
    }
  }
}

constexpr DType kBlockTypes[] = {DType::q8_0,  DType::q4_0,  DType::q4_1, DType::q5_0,
                                 DType::q5_1,  DType::q4_k,  DType::q5_k, DType::q6_k,
                                 DType::mxfp4, DType::iq4_nl};

TEST(Linear, BlockTypes) {
  for (const DType type : kBlockTypes) {
    const auto block = static_cast<int>(dtype_values(type));
    for (const int n_blocks : {1, 2, 3, 4, 5, 7, 8, 18, 33, 65}) {
      if (n_blocks * block > 8192) continue;
      for (const int n_rows : {9, 37}) {
        check({.type = type, .n_rows = n_rows, .n_cols = n_blocks * block}, 8);
        if (HasFatalFailure()) return;
      }
    }
    check({.type = type, .n_rows = 37, .n_cols = 5 * 256}, 301);  // more than any block of tokens
    if (HasFatalFailure()) return;
  }
}

TEST(Linear, ScaleBlocks) {
  struct Blocks {
    int rows, cols, first_row;
  };
  for (const DType type : {DType::f8_e4m3, DType::e2m1x2, DType::bf16, DType::f32}) {
    for (const DType scale_type : {DType::f8_e8m0, DType::f32}) {
      for (const Blocks b : {Blocks{128, 128, 0}, Blocks{128, 128, 125}, Blocks{1, 32, 3},
                             Blocks{1, 16, 0}, Blocks{3, 5, 4}, Blocks{2, 48, 1}}) {
        for (const int n_cols : {1, 17, 33, 100, 128, 257, 1000}) {
          check({.type = type,
                 .n_rows = 9,
                 .n_cols = n_cols,
                 .scale_rows = b.rows,
                 .scale_cols = b.cols,
                 .scale_type = scale_type,
                 .first_row = b.first_row},
                8);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST(Linear, LongRowsAndManyTokens) {
  const WeightShape f8{.type = DType::f8_e4m3,
                       .n_rows = 37,
                       .n_cols = 4096,
                       .scale_rows = 128,
                       .scale_cols = 128,
                       .first_row = 120};
  const WeightShape e2m1{
      .type = DType::e2m1x2, .n_rows = 37, .n_cols = 2080, .scale_rows = 1, .scale_cols = 32};
  for (const int n_tokens : {1, 7, 13}) {
    check(f8, n_tokens);
    check(e2m1, n_tokens);
    check({.type = DType::bf16, .n_rows = 37, .n_cols = 3001}, n_tokens);
    if (HasFatalFailure()) return;
  }
  // More tokens than any block of them.
  check(
      {.type = DType::f8_e4m3, .n_rows = 35, .n_cols = 1100, .scale_rows = 128, .scale_cols = 128},
      301);
}

// One column: y is the decoded value itself. Every code under every e8m0 scale, the extremes and
// NaN included.
TEST(Linear, DecodesEveryCodeUnderEveryScale) {
  static Workspace workspace;
  for (const DType type : {DType::f8_e4m3, DType::e2m1x2}) {
    const int n_codes = type == DType::f8_e4m3 ? 256 : 16;
    std::vector<uint8_t> codes(static_cast<size_t>(n_codes));
    for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(i);
    for (int scale = 0; scale < 256; ++scale) {
      const auto scale_byte = static_cast<std::byte>(scale);
      Weight w{.type = type, .n_rows = n_codes, .n_cols = 1};
      w.data = reinterpret_cast<const std::byte*>(codes.data());
      w.row_bytes = 1;
      w.scales = &scale_byte;
      w.scale_rows = n_codes;
      w.scale_row_bytes = 1;
      for (const Kernels* set : test_sets()) {
        for (const int n_tokens : {1, 2}) {
          const float x[2] = {1, 1};
          const uint16_t x_bf16[2] = {0x3F80, 0x3F80};
          std::vector<float> y(codes.size() * 2), y_bf16(codes.size() * 2);
          set->linear({&w, 0, n_codes, x, 1, n_tokens, y.data(), codes.size(), workspace.get()});
          set->linear_bf16(
              {&w, 0, n_codes, x_bf16, 1, n_tokens, y_bf16.data(), codes.size(), workspace.get()});
          for (int r = 0; r < n_codes; ++r) {
            if (type == DType::f8_e4m3 && (r & 0x7F) == 0x7F) continue;
            const float want = w.at(r, 0);
            for (const float got : {y[static_cast<size_t>(r)], y_bf16[static_cast<size_t>(r)]}) {
              if (std::isnan(want) ? std::isnan(got) : want == got) continue;
              FAIL() << set->name << " " << set->description << " " << dtype_name(type) << " code "
                     << r << " scale byte " << scale << " got " << got << " want " << want;
            }
          }
        }
      }
    }
  }
}

// The same inside of vectors: one-hot inputs pick every column.
TEST(Linear, DecodesEveryCodeInEveryLane) {
  static Workspace workspace;
  constexpr int kCols = 64;
  const Inputs in = [] {
    Inputs one_hot{GuardedBytes(kCols * kCols * 4), GuardedBytes(kCols * kCols * 2), kCols};
    for (size_t t = 0; t < kCols; ++t) {
      one_hot.x.as<float>()[t * kCols + t] = 1;
      one_hot.x_bf16.as<uint16_t>()[t * kCols + t] = 0x3F80;
    }
    return one_hot;
  }();
  for (const DType type : {DType::f8_e4m3, DType::e2m1x2}) {
    const bool f8 = type == DType::f8_e4m3;
    const size_t row_bytes = f8 ? kCols : kCols / 2;
    std::vector<uint8_t> codes(256 * row_bytes);
    for (size_t r = 0; r < 256; ++r) {
      for (size_t c = 0; c < row_bytes; ++c) {
        auto code = static_cast<uint8_t>(r + 5 * c);
        if (f8 && (code & 0x7F) == 0x7F) code = 0;
        codes[r * row_bytes + c] = code;
      }
    }
    for (const int scale : {1, 9, 10, 27, 64, 100, 120, 127, 130, 200, 227, 228, 236}) {
      const std::vector<uint8_t> scales(256 * 2, static_cast<uint8_t>(scale));
      Weight w{.type = type, .n_rows = 256, .n_cols = kCols};
      w.data = reinterpret_cast<const std::byte*>(codes.data());
      w.row_bytes = row_bytes;
      w.scales = reinterpret_cast<const std::byte*>(scales.data());
      w.scale_cols = 32;
      w.scale_row_bytes = 2;
      for (const Kernels* set : test_sets()) {
        for (const bool bf16 : {false, true}) {
          std::vector<float> many(256 * kCols), single(256 * kCols);
          call(*set, bf16, w, 0, 256, in, 0, kCols, many.data(), workspace.get());
          for (int t = 0; t < kCols; ++t) {
            call(*set, bf16, w, 0, 256, in, t, 1, single.data(), workspace.get());
          }
          for (int r = 0; r < 256; ++r) {
            for (int c = 0; c < kCols; ++c) {
              const auto at = static_cast<size_t>(c * 256 + r);
              ASSERT_EQ(many[at], w.at(r, c))
                  << set->name << " " << set->description << " bf16 " << bf16 << " row " << r
                  << " col " << c << " scale " << scale;
              ASSERT_EQ(single[at], many[at]);
            }
          }
        }
      }
    }
  }
}

// Inputs that pick one column each: y is the decoded value itself, for one token and for many.
TEST(Linear, DecodesEveryValueOfABlock) {
  static Workspace workspace;
  Rng rng(31);
  for (const DType type : kBlockTypes) {
    const int n_cols = std::max(64, static_cast<int>(dtype_values(type)));
    const auto n = static_cast<size_t>(n_cols);
    constexpr int kRows = 67;
    const OwnedWeight owned = random_weight(rng, {.type = type, .n_rows = kRows, .n_cols = n_cols});
    Inputs in{GuardedBytes(n * n * 4), GuardedBytes(n * n * 2), n};
    for (size_t t = 0; t < n; ++t) {
      in.x.as<float>()[t * n + t] = 1;
      in.x_bf16.as<uint16_t>()[t * n + t] = bf16_from_f32(1);
    }
    for (const Kernels* set : test_sets()) {
      for (const bool bf16 : {false, true}) {
        std::vector<float> many(n * kRows), single(n * kRows);
        call(*set, bf16, owned.weight, 0, kRows, in, 0, n_cols, many.data(), workspace.get());
        for (int t = 0; t < n_cols; ++t) {
          call(*set, bf16, owned.weight, 0, kRows, in, t, 1, single.data(), workspace.get());
        }
        for (int r = 0; r < kRows; ++r) {
          float largest = 0;
          for (int c = 0; c < n_cols; ++c) {
            largest = std::max(largest, std::abs(owned.weight.at(r, c)));
          }
          for (int c = 0; c < n_cols; ++c) {
            const auto at = static_cast<size_t>(c * kRows + r);
            if (bf16 && set->linear_blocks != nullptr) {  // 1 is 32767 times a rounded scale
              ASSERT_NEAR(many[at], owned.weight.at(r, c), 1e-6f * largest);
            } else {
              ASSERT_EQ(many[at], owned.weight.at(r, c))
                  << set->name << " " << set->description << " bf16 " << bf16 << " "
                  << dtype_name(type) << " row " << r << " column " << c;
            }
            ASSERT_EQ(single[at], many[at]);
          }
        }
      }
    }
  }
}

InputGroup plain_group(const float* x) {
  InputGroup group{};
  float most = 0;
  for (int i = 0; i < InputGroup::kSize; ++i) {
    if (!std::isfinite(x[i])) most = std::numeric_limits<float>::quiet_NaN();
    if (!std::isnan(most)) most = std::max(most, std::abs(x[i]));
  }
  if (std::isnan(most)) {
    group.scale = group.sum = most;
  } else if (most >= 0x1p-100f) {
    int sum = 0;
    for (int i = 0; i < InputGroup::kSize; ++i) {
      group.values[i] = static_cast<int16_t>(std::nearbyint(x[i] * (32767 / most)));
      sum += group.values[i];
    }
    group.scale = most / 32767;
    group.sum = group.scale * static_cast<float>(sum);
  }
  return group;
}

TEST(Linear, GroupsOfInputs) {
  constexpr size_t kSize = InputGroup::kSize, kGroups = 3;
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Rng rng(37);
  for (const Kernels* set : test_sets()) {
    ASSERT_EQ(set->linear_blocks == nullptr, set->group_inputs == nullptr);
    if (set->group_inputs == nullptr) continue;
    for (int exponent = -149; exponent <= 127; ++exponent) {
      GuardedBytes x = random_floats(rng, kGroups * kSize);
      float* const values = x.as<float>();
      for (size_t i = 0; i < kGroups * kSize; ++i) values[i] = std::ldexp(values[i], exponent);
      for (size_t i = 0; i < kSize; ++i) values[kSize + i] = i % 2 == 0 ? 0.0f : -0.0f;
      const size_t at = static_cast<size_t>(exponent + 149) % kSize;
      if (exponent % 4 == 0) values[2 * kSize + at] = infinity;
      if (exponent % 4 == 1) values[2 * kSize + at] = nan;
      GuardedBytes got(kGroups * sizeof(InputGroup));
      set->group_inputs(values, kGroups * kSize, got.as<InputGroup>());
      for (size_t g = 0; g < kGroups; ++g) {
        SCOPED_TRACE(fmt::format("2^{} group {}", exponent, g));
        const InputGroup want = plain_group(values + g * kSize);
        const InputGroup& group = got.as<InputGroup>()[g];
        ASSERT_EQ(std::memcmp(group.values, want.values, sizeof want.values), 0);
        ASSERT_EQ(std::isnan(group.scale), std::isnan(want.scale));
        ASSERT_EQ(std::isnan(group.sum), std::isnan(want.sum));
        if (!std::isnan(want.scale)) {
          ASSERT_EQ(group.scale, want.scale);
          ASSERT_EQ(group.sum, want.sum);
        }
      }
    }
  }
}

TEST(Linear, InfinityAndNanStayWhereTheyBelong) {
  static Workspace workspace;
  Rng rng(23);
  constexpr int kCols = 70, kTokens = 8, kRows = 37;
  for (const DType type : {DType::f32, DType::bf16, DType::f8_e4m3, DType::e2m1x2}) {
    const OwnedWeight owned = random_weight(rng, {.type = type, .n_rows = kRows, .n_cols = kCols});
    Inputs in = random_inputs(rng, kTokens, kCols, true);
    const float special[] = {std::numeric_limits<float>::infinity(),
                             std::numeric_limits<float>::quiet_NaN()};
    for (const size_t at : {size_t{kCols} + 3, size_t{4 * kCols} + 69}) {
      const float value = special[at % 2];
      in.x.as<float>()[at] = value;
      in.x_bf16.as<uint16_t>()[at] = bf16_from_f32(value);
    }
    for (const Kernels* set : test_sets()) {
      for (const bool bf16 : {false, true}) {
        float want[kTokens * kRows], many[kTokens * kRows], single[kTokens * kRows];
        call(ref_kernels(), bf16, owned.weight, 0, kRows, in, 0, kTokens, want, workspace.get());
        call(*set, bf16, owned.weight, 0, kRows, in, 0, kTokens, many, workspace.get());
        for (int t = 0; t < kTokens; ++t) {
          call(*set, bf16, owned.weight, 0, kRows, in, t, 1, single, workspace.get());
        }
        for (const float* got : {many, single}) {
          const Comparison error = compare(got, want, kTokens * kRows);
          ASSERT_TRUE(error.within(1e-4)) << set->name << " " << error.text();
        }
      }
    }
  }
}

// Inputs from one end of the exponents to the other: what one token gives is what it gives among
// several, wherever the scales are applied.
TEST(Linear, OneTokenIsTheSameAtEveryMagnitude) {
  static Workspace workspace;
  constexpr int kRows = 37, kTokens = 2;
  Rng rng(29);
  const WeightShape shapes[] = {{.type = DType::f8_e4m3,
                                 .n_rows = kRows,
                                 .n_cols = 300,
                                 .scale_rows = 128,
                                 .scale_cols = 128,
                                 .first_row = 3},
                                {.type = DType::q4_1, .n_rows = kRows, .n_cols = 288},
                                {.type = DType::q6_k, .n_rows = kRows, .n_cols = 256}};
  for (const WeightShape& shape : shapes) {
    const OwnedWeight owned = random_weight(rng, shape);
    for (int exponent = -149; exponent <= 127; ++exponent) {
      Inputs in = random_inputs(rng, kTokens, shape.n_cols, true);
      for (size_t i = 0; i < static_cast<size_t>(kTokens * shape.n_cols); i += 3) {
        const float value = std::ldexp(in.x.as<float>()[i], exponent);
        in.x_bf16.as<uint16_t>()[i] = bf16_from_f32(value);
      }
      for (const Kernels* set : test_sets()) {
        float many[kTokens * kRows], single[kTokens * kRows];
        call(*set, true, owned.weight, 0, kRows, in, 0, kTokens, many, workspace.get());
        for (int t = 0; t < kTokens; ++t) {
          call(*set, true, owned.weight, 0, kRows, in, t, 1, single, workspace.get());
        }
        ASSERT_EQ(std::memcmp(many, single, sizeof many), 0)
            << text(*set, shape, kTokens) << " 2^" << exponent;
      }
    }
  }
}

// A lane that a flushed product left at -0 keeps its sign through zeros of either sign.
TEST(Linear, OneTokenKeepsTheSignOfZero) {
  static Workspace workspace;
  constexpr int kRows = 20, kCols = 64, kTokens = 2;
  Rng rng(3);
  OwnedWeight owned = random_weight(rng, {.type = DType::f8_e4m3,
                                          .n_rows = kRows,
                                          .n_cols = kCols,
                                          .scale_rows = 128,
                                          .scale_cols = 128});
  auto* const codes = reinterpret_cast<uint8_t*>(const_cast<std::byte*>(owned.weight.data));
  auto* const scale = reinterpret_cast<uint8_t*>(const_cast<std::byte*>(owned.weight.scales));
  *scale = 127;
  for (size_t i = 0; i < size_t{kRows} * kCols; ++i) codes[i] = i % kCols < 32 ? 0x81 : 0x38;
  Inputs in = random_inputs(rng, kTokens, kCols, true);
  for (size_t i = 0; i < size_t{kTokens} * kCols; ++i) {
    in.x_bf16.as<uint16_t>()[i] = i % kCols < 32 ? 0x0380 : 0x8000;  // 2^-120, -0
  }
  for (const Kernels* set : test_sets()) {
    float many[kTokens * kRows], single[kTokens * kRows];
    call(*set, true, owned.weight, 0, kRows, in, 0, kTokens, many, workspace.get());
    for (int t = 0; t < kTokens; ++t) {
      call(*set, true, owned.weight, 0, kRows, in, t, 1, single, workspace.get());
    }
    EXPECT_EQ(std::memcmp(many, single, sizeof many), 0) << set->name;
  }
}

TEST(Exec, ThreadsAndBatchesDoNotChangeABit) {
  Rng rng(7);
  const OwnedWeight a = random_weight(
      rng,
      {.type = DType::f8_e4m3, .n_rows = 300, .n_cols = 512, .scale_rows = 128, .scale_cols = 128});
  const OwnedWeight b = random_weight(rng, {.type = DType::bf16, .n_rows = 77, .n_cols = 512});
  constexpr int kTokens = 9;
  const GuardedBytes x = random_floats(rng, kTokens * 512);
  for (const Kernels* set : test_sets()) {
    for (const Products products : {Products::f32, Products::bf16}) {
      std::vector<float> first;
      for (const int n_threads : {1, 2, 3}) {
        for (const bool together : {true, false}) {
          ThreadPool pool(n_threads);
          Exec exec(*set, pool, products);
          ArenaBuilder dry;
          exec.lay_out(dry, kTokens * 512 * 2);
          Arena arena = Arena::create(dry.bytes()).value();
          ArenaBuilder builder(arena.data());
          exec.lay_out(builder, kTokens * 512 * 2);
          std::vector<float> y(kTokens * 377);
          float* const ya = y.data();
          float* const yb = ya + kTokens * 300;
          if (together) {
            const LinearJob jobs[] = {{&a.weight, x.as<float>(), 512, kTokens, ya, 300},
                                      {&b.weight, x.as<float>(), 512, kTokens, yb, 77}};
            exec.linear(jobs);
          } else {
            for (int t = 0; t < kTokens; ++t) {
              exec.linear(a.weight, x.as<float>() + t * 512, 1, ya + t * 300);
              exec.linear(b.weight, x.as<float>() + t * 512, 1, yb + t * 77);
            }
          }
          if (first.empty()) first = y;
          ASSERT_EQ(std::memcmp(first.data(), y.data(), y.size() * sizeof(float)), 0)
              << set->name << " threads " << n_threads << " together " << together;
        }
      }
    }
  }
}

// Block types and others that share their inputs: each job as if alone, within the room asked for.
TEST(Exec, WeightsOfBothKindsShareTheirInputs) {
  Rng rng(11);
  constexpr int kCols = 512, kRows = 20;
  constexpr size_t kTokens = 9, kInputs = kTokens * kCols, kGuardBytes = kInputs * 8;
  std::vector<OwnedWeight> weights;
  for (const DType type : {DType::q8_0, DType::bf16, DType::q4_0, DType::f32}) {
    weights.push_back(random_weight(rng, {.type = type, .n_rows = kRows, .n_cols = kCols}));
  }
  const GuardedBytes x = random_floats(rng, kInputs);
  for (const Kernels* set : test_sets()) {
    ThreadPool pool(2);
    Exec exec(*set, pool, Products::bf16);
    ArenaBuilder dry;
    exec.lay_out(dry, kInputs);
    Arena arena = Arena::create(dry.bytes() + kGuardBytes).value();
    ArenaBuilder builder(arena.data());
    exec.lay_out(builder, kInputs);
    std::vector<float> together(weights.size() * kTokens * kRows), alone(together.size());
    std::vector<LinearJob> jobs;
    for (size_t i = 0; i < weights.size(); ++i) {
      const size_t at = i * kTokens * kRows;
      jobs.push_back(
          {&weights[i].weight, x.as<float>(), kCols, kTokens, together.data() + at, kRows});
      exec.linear(weights[i].weight, x.as<float>(), kTokens, alone.data() + at);
    }
    exec.linear(jobs);
    ASSERT_EQ(together, alone) << set->name;
    const std::byte* const guard = arena.data() + dry.bytes();
    ASSERT_TRUE(std::all_of(guard, guard + kGuardBytes, [](std::byte b) {
      return b == std::byte{};
    })) << set->name;
  }
}

}  // namespace
}  // namespace varve
