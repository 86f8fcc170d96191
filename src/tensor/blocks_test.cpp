// Block types against the values and the bytes that the Python package gguf has for them
// (tests/oracle/block_vectors.py).
#include "tensor/blocks.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/rng.h"
#include "tensor/weight.h"

namespace varve {
namespace {

constexpr DType kBlockTypes[] = {DType::q8_0,  DType::q4_0,  DType::q4_1, DType::q5_0,
                                 DType::q5_1,  DType::q4_k,  DType::q5_k, DType::q6_k,
                                 DType::mxfp4, DType::iq4_nl};

std::vector<char> read_vector(const std::string& name) {
  std::ifstream in(std::string(VARVE_SOURCE_DIR "/tests/data/blocks/") + name, std::ios::binary);
  EXPECT_TRUE(in) << name;
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<float> read_floats(const std::string& name) {
  const std::vector<char> bytes = read_vector(name);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

TEST(Blocks, DecodeToTheValuesOfGguf) {
  for (const DType type : kBlockTypes) {
    const std::string name(dtype_name(type));
    const std::vector<char> blocks = read_vector(name + ".blocks");
    const std::vector<float> want = read_floats(name + ".f32");
    const size_t bytes = dtype_bytes(type), n = dtype_values(type);
    ASSERT_EQ(blocks.size() / bytes * n, want.size()) << name;
    std::vector<float> got(want.size());
    for (size_t b = 0; b * bytes < blocks.size(); ++b) {
      decode_block(type, reinterpret_cast<const std::byte*>(blocks.data()) + b * bytes,
                   got.data() + b * n);
    }
    for (size_t i = 0; i < want.size(); ++i) ASSERT_EQ(got[i], want[i]) << name << " value " << i;
  }
}

TEST(Blocks, RowsAreBlocksSideBySide) {
  for (const DType type : kBlockTypes) {
    const std::string name(dtype_name(type));
    const std::vector<char> blocks = read_vector(name + ".blocks");
    const std::vector<float> want = read_floats(name + ".f32");
    const size_t n_cols = want.size() / 2;
    const Weight weight{.type = type,
                        .n_rows = 2,
                        .n_cols = static_cast<int>(n_cols),
                        .data = reinterpret_cast<const std::byte*>(blocks.data()),
                        .row_bytes = blocks.size() / 2};
    std::vector<float> row(n_cols);
    for (int r = 0; r < 2; ++r) {
      decode_row(weight, r, row);
      for (size_t c = 0; c < n_cols; ++c) {
        ASSERT_EQ(row[c], want[static_cast<size_t>(r) * n_cols + c]) << name << " column " << c;
        ASSERT_EQ(weight.at(r, static_cast<int>(c)), row[c]) << name << " column " << c;
      }
    }
  }
}

TEST(Blocks, EncodeToTheBytesOfGguf) {
  const std::vector<float> input = read_floats("input.f32");
  for (const DType type : kBlockTypes) {
    if (!can_encode_block(type)) continue;
    const std::string name(dtype_name(type));
    const std::vector<char> want = read_vector(name + ".encoded");
    const size_t bytes = dtype_bytes(type);
    ASSERT_EQ(want.size(), input.size() / 32 * bytes) << name;
    std::vector<char> got(want.size());
    for (size_t b = 0; b * 32 < input.size(); ++b) {
      encode_block(type, input.data() + b * 32,
                   reinterpret_cast<std::byte*>(got.data()) + b * bytes);
      EXPECT_EQ(std::string(got.data() + b * bytes, bytes),
                std::string(want.data() + b * bytes, bytes))
          << name << " block " << b;
    }
  }
}

// What comes back is off by half a step of the block's codes and what f16 takes from the scale.
TEST(Blocks, EncodingIsNear) {
  struct Case {
    DType type;
    float steps;  // codes over the range of the block, or of its magnitude
  };
  Rng rng(5);
  for (const Case c : {Case{DType::q8_0, 127}, Case{DType::q4_0, 8}, Case{DType::q4_1, 15},
                       Case{DType::q5_0, 16}, Case{DType::q5_1, 31}, Case{DType::mxfp4, 2}}) {
    for (int round = 0; round < 100; ++round) {
      float values[32], back[32];
      float least = 0, most = 0;
      for (float& v : values) {
        v = 0.02f * rng.normal();
        least = std::min(least, v);
        most = std::max(most, v);
      }
      std::byte block[34];
      encode_block(c.type, values, block);
      decode_block(c.type, block, back);
      const bool has_minimum = c.type == DType::q4_1 || c.type == DType::q5_1;
      const float range = has_minimum ? most - least : std::max(most, -least);
      for (int i = 0; i < 32; ++i) {
        // The positive end is a code short where codes count from the middle.
        const bool short_end = c.type == DType::q4_0 || c.type == DType::q5_0;
        const float step = range / c.steps;
        EXPECT_NEAR(back[i], values[i], (short_end ? 1.0f : 0.5f) * step + range * 0x1p-10f)
            << dtype_name(c.type);
      }
    }
  }
}

}  // namespace
}  // namespace varve
