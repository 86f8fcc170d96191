// The parts of a conversion: which type a matrix becomes and that its values stay, what V4's
// configuration is as metadata, names and counts. Whole models: tests/cli_convert.py.
#include "convert/convert.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "convert/encoding.h"
#include "convert/tally.h"
#include "convert/v4_metadata.h"
#include "formats/gguf.h"
#include "formats/gguf_test_bytes.h"
#include "kernels/test_data.h"
#include "models/deepseek_v4/config_json.h"
#include "models/gguf_config.h"

namespace varve {
namespace {

// ---- matrices

constexpr WeightShape kPackedE2m1 = {
    .type = DType::e2m1x2, .n_rows = 5, .n_cols = 96, .scale_rows = 1, .scale_cols = 32};
constexpr WeightShape kE4m3 = {
    .type = DType::f8_e4m3, .n_rows = 5, .n_cols = 96, .scale_rows = 4, .scale_cols = 64};

WeightShape with_f32_scales(WeightShape shape) {
  shape.scale_type = DType::f32;
  return shape;
}
WeightShape with_columns(WeightShape shape, int n_cols) {
  shape.n_cols = n_cols;
  return shape;
}
WeightShape of_type(DType type) {
  return {.type = type, .n_rows = 5, .n_cols = 256};
}

OwnedWeight made(const WeightShape& shape) {
  Rng rng(9);
  return random_weight(rng, shape);
}

std::string written(const Weight& matrix, DType type) {
  std::string bytes;
  const auto done = write_rows(matrix, type, [&](std::span<const std::byte> row) -> Result<void> {
    bytes.append(reinterpret_cast<const char*>(row.data()), row.size());
    return {};
  });
  EXPECT_TRUE(done) << done.error().message;
  return bytes;
}

// The same matrix as its bytes of another type have it, without scales beside them.
Weight read_back(const std::string& bytes, const Weight& like, DType type) {
  Weight out;
  out.type = type;
  out.n_rows = like.n_rows;
  out.n_cols = like.n_cols;
  out.data = reinterpret_cast<const std::byte*>(bytes.data());
  out.row_bytes = encoded_bytes(type, 1, like.n_cols);
  EXPECT_EQ(bytes.size(), encoded_bytes(type, like.n_rows, like.n_cols));
  return out;
}

TEST(Encoding, TypesOfAGguf) {
  const WeightShape wide = with_columns(kE4m3, 100);  // no whole blocks of 32
  struct Case {
    WeightShape from;
    DType fp8, to;
    bool exact;
  };
  for (const Case& c : {Case{of_type(DType::f32), DType::bf16, DType::f32, true},
                        {of_type(DType::f16), DType::q8_0, DType::f16, true},
                        {of_type(DType::q4_k), DType::q8_0, DType::q4_k, true},
                        {kPackedE2m1, DType::q8_0, DType::mxfp4, true},
                        {with_f32_scales(kPackedE2m1), DType::bf16, DType::f32, true},
                        {with_columns(kPackedE2m1, 100), DType::bf16, DType::bf16, true},
                        {kE4m3, DType::bf16, DType::bf16, true},
                        {with_f32_scales(kE4m3), DType::bf16, DType::f32, true},
                        {kE4m3, DType::q8_0, DType::q8_0, false},
                        {wide, DType::q8_0, DType::bf16, true}}) {
    const OwnedWeight owned = made(c.from);
    const Encoding encoding = gguf_encoding(std::span(&owned.weight, 1), c.fp8);
    EXPECT_EQ(encoding.type, c.to) << dtype_name(c.from.type) << " to " << dtype_name(c.to);
    EXPECT_EQ(encoding.exact, c.exact) << dtype_name(c.from.type) << " to " << dtype_name(c.to);
  }
  const OwnedWeight a = made(kE4m3), b = made(of_type(DType::bf16));
  const std::vector<Weight> parts = {a.weight, b.weight};
  EXPECT_EQ(gguf_encoding(parts, DType::bf16).type, DType::f32);  // one type holds both
}

TEST(Encoding, WhatIsExactKeepsEveryValue) {
  for (const WeightShape& shape :
       {kPackedE2m1, with_f32_scales(kPackedE2m1), kE4m3, with_f32_scales(kE4m3),
        of_type(DType::bf16), of_type(DType::q6_k), of_type(DType::mxfp4)}) {
    const OwnedWeight owned = made(shape);
    const Weight& from = owned.weight;
    const DType type = gguf_encoding(std::span(&from, 1), DType::bf16).type;
    const std::string bytes = written(from, type);
    const Weight to = read_back(bytes, from, type);
    for (int r = 0; r < from.n_rows; ++r) {
      for (int c = 0; c < from.n_cols; ++c) {
        ASSERT_EQ(to.at(r, c), from.at(r, c)) << dtype_name(shape.type) << " " << r << ", " << c;
      }
    }
  }
}

TEST(Encoding, PackedE2m1ComesBackAsItWas) {
  const OwnedWeight owned = made(kPackedE2m1);
  const Weight& from = owned.weight;
  const std::string blocks = written(from, DType::mxfp4);
  const Weight mxfp4 = read_back(blocks, from, DType::mxfp4);
  ASSERT_EQ(safetensors_encoding(mxfp4).type, DType::e2m1x2);
  const std::string codes = written(mxfp4, DType::e2m1x2);
  EXPECT_EQ(std::memcmp(codes.data(), from.data, codes.size()), 0);
  std::string scales;
  ASSERT_TRUE(write_scales(mxfp4, [&](std::span<const std::byte> row) -> Result<void> {
    scales.append(reinterpret_cast<const char*>(row.data()), row.size());
    return {};
  }));
  ASSERT_EQ(scales.size(), 5u * 3);
  EXPECT_EQ(std::memcmp(scales.data(), from.scales, scales.size()), 0);
  EXPECT_EQ(safetensors_encoding(made(of_type(DType::q4_0)).weight).type, DType::f32);
  EXPECT_EQ(safetensors_encoding(made(of_type(DType::f16)).weight).type, DType::f16);
}

TEST(Encoding, Q8OfWhatIsNoNumberIsRefused) {
  OwnedWeight owned = made(with_f32_scales(kE4m3));
  const float infinite = std::numeric_limits<float>::infinity();
  std::memcpy(owned.scales.as<std::byte>(), &infinite, sizeof infinite);
  const auto done = write_rows(owned.weight, DType::q8_0,
                               [](std::span<const std::byte>) -> Result<void> { return {}; });
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().message, "expected finite values to round to Q8_0, found others");
}

// ---- the configuration

deepseek_v4::Config published(const std::string& name) {
  const std::string path = std::string(VARVE_SOURCE_DIR) + "/models/configs/" + name + ".json";
  return deepseek_v4::parse_config(JsonObject::read(path).value()).value();
}

// What config_from_gguf() reads from the metadata of `config`.
Result<deepseek_v4::Config> through_metadata(const deepseek_v4::Config& config) {
  GgufEntries entries;
  VARVE_CHECKED(add_v4_metadata(config, "config.json", "a model", entries));
  const std::string bytes = "GGUF" + bytes_of(uint32_t{3}) + bytes_of(uint64_t{0}) +
                            bytes_of(entries.n()) + entries.bytes();
  VARVE_TRY(const GgufFile file, parse_gguf(std::as_bytes(std::span(bytes)), "f.gguf"));
  const TensorView matrix = {"", "f.gguf", DType::f32, {config.vocab_size, config.hidden_size}, {}};
  VARVE_TRY(const JsonObject json, config_from_gguf(file.metadata, [&](std::string_view name) {
              const bool is_there = name == "token_embd.weight" || name == "output.weight";
              return is_there ? &matrix : nullptr;
            }));
  return deepseek_v4::parse_config(json);
}

TEST(V4Metadata, SaysAllThatTheConfigDoes) {
  for (const char* const name : {"deepseek-v4-flash", "deepseek-v4-pro"}) {
    const deepseek_v4::Config config = published(name);
    const auto back = through_metadata(config);
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(deepseek_v4::config_json(*back, false), deepseek_v4::config_json(config, false));
  }
}

TEST(V4Metadata, RefusesWhatNoKeyCanSay) {
  const deepseek_v4::Config config = published("deepseek-v4-flash");
  const auto refusal = [](const deepseek_v4::Config& changed) {
    const auto back = through_metadata(changed);
    return back ? "none" : back.error().message;
  };
  deepseek_v4::Config ends = config;
  ends.eos_ids = {1, 2, 3, 4};
  EXPECT_EQ(refusal(ends),
            "config.json: field `eos_token_id`: expected at most 3 ids, as GGUF has keys, found 4");
  deepseek_v4::Config hashed = config;
  hashed.layers.back().hash_routed = true;
  EXPECT_NE(refusal(hashed).find("config.json: layer 42: expected routing by score behind layer 3"),
            std::string::npos)
      << refusal(hashed);
  deepseek_v4::Config ratio = config;
  ratio.layers[2].ratio = 8;
  EXPECT_NE(refusal(ratio).find("config.json: layer 2: expected "), std::string::npos)
      << refusal(ratio);
}

// ---- names and counts

TEST(Tally, NamesAndCounts) {
  EXPECT_EQ(expert_name("layers.3.ffn.experts.w1.weight", 7), "layers.3.ffn.experts.7.w1.weight");
  const OwnedWeight a = made(kE4m3), b = made(of_type(DType::bf16));
  ModelTensor tensor;
  tensor.matrices = {a.weight, b.weight, a.weight};
  EXPECT_EQ(stored_as(tensor), "F8_E4M3 and BF16");
  const std::vector<int32_t> ids = {1};
  EXPECT_EQ(stored_as({.name = {}, .shape = {}, .matrices = {}, .values = {}, .ids = ids}),
            "expert ids");
  std::vector<ConvertedTensors> tally;
  add_to_tally(tally, "F32", "F32", true, 10);
  add_to_tally(tally, "F8_E4M3", "BF16", true, 20);
  add_to_tally(tally, "F32", "F32", true, 5);
  ASSERT_EQ(tally.size(), 2u);
  EXPECT_EQ(tally[0].n, 2);
  EXPECT_EQ(tally[0].bytes, 15u);
  EXPECT_EQ(tally[1].to, "BF16");
}

}  // namespace
}  // namespace varve
