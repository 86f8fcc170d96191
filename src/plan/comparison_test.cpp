// The shares of cache and FLOPs that DeepSeek's report states for V4, from the published configs
// (spec 12.3), and what the kinds of attention cost one by one.
#include "plan/comparison.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace varve {
namespace {

constexpr int kMillion = 1 << 20;

std::unique_ptr<Model> published(const std::string& name) {
  auto model = load_shapes(std::string(VARVE_SOURCE_DIR) + "/models/configs/" + name + ".json");
  EXPECT_TRUE(model) << model.error().message;
  return model ? std::move(*model) : nullptr;
}

AttentionVariant native(const Model& model) {
  return own_attention(model, PoolFormats::all(RowFormat::native));
}

AttentionVariant other(const Model& model, std::string_view id) {
  for (const AttentionVariant& variant : other_attention(model)) {
    if (variant.id == id) return variant;
  }
  ADD_FAILURE() << "no " << id;
  return {};
}

double params(const Model& model) {
  return static_cast<double>(model.decode_weight_macs());
}

double percent(double part, double whole) {
  return 100 * part / whole;
}

struct Stated {
  const char* name;
  double reported_params;
  double kv_of_v32, kv_of_gqa_8;  // percent
  // FLOPs of V3.2's, with the parameters of the config and with those that the report rounds.
  double weighted, unweighted;
  double reported_weighted, reported_unweighted;
};

// 10 % and 7 % of the cache of V3.2, 2 % of GQA-8's, 27 % and 10 % of the FLOPs at 1M.
constexpr Stated kStated[] = {
    {"deepseek-v4-pro", 49e9, 10.47, 2.01, 26.45, 26.19, 26.50, 26.24},
    {"deepseek-v4-flash", 13e9, 7.31, 2.00, 9.97, 12.12, 9.93, 12.09},
};
constexpr double kV32ReportedParams = 37e9;

TEST(Comparison, SharesOfTheReport) {
  const auto v32 = published("deepseek-v3.2");
  const AttentionVariant reference = deepseek_v32_attention();
  EXPECT_DOUBLE_EQ(reference.bytes_per_token, 61 * (656 + 132));
  for (const Stated& stated : kStated) {
    const auto model = published(stated.name);
    const AttentionVariant own = native(*model);
    EXPECT_NEAR(percent(own.bytes_per_token, reference.bytes_per_token), stated.kv_of_v32, 0.005)
        << stated.name;
    EXPECT_NEAR(percent(own.bytes_per_token, other(*model, "gqa_8").bytes_per_token),
                stated.kv_of_gqa_8, 0.005)
        << stated.name;

    const DecodeFlops flops = own.decode_flops(params(*model), kMillion);
    const DecodeFlops of_v32 = reference.decode_flops(params(*v32), kMillion);
    EXPECT_NEAR(percent(flops.fp8_equivalent, of_v32.fp8_equivalent), stated.weighted, 0.005)
        << stated.name;
    EXPECT_NEAR(percent(flops.sum(), of_v32.sum()), stated.unweighted, 0.005) << stated.name;

    const DecodeFlops reported = own.decode_flops(stated.reported_params, kMillion);
    const DecodeFlops reported_v32 = reference.decode_flops(kV32ReportedParams, kMillion);
    EXPECT_NEAR(percent(reported.fp8_equivalent, reported_v32.fp8_equivalent),
                stated.reported_weighted, 0.005)
        << stated.name;
    EXPECT_NEAR(percent(reported.sum(), reported_v32.sum()), stated.reported_unweighted, 0.005)
        << stated.name;
  }
}

// Of the configs' matrices; the reports round them to 37, 13 and 49 e9.
TEST(Comparison, ActiveParameters) {
  EXPECT_NEAR(params(*published("deepseek-v3.2")), 37.48e9, 0.005e9);
  EXPECT_NEAR(params(*published("deepseek-v4-flash")), 13.27e9, 0.005e9);
  EXPECT_NEAR(params(*published("deepseek-v4-pro")), 48.85e9, 0.005e9);
}

// The dimensions that other models are given are those of the configs.
TEST(Comparison, DimensionsOfPublishedModels) {
  EXPECT_EQ(deepseek_v32_attention().layers, native(*published("deepseek-v3.2")).layers);

  const auto llama = published("llama-3.1-8b");  // of 32 layers and heads
  std::vector<LayerAttention> flash = native(*published("deepseek-v4-flash")).layers;
  flash.resize(32);
  for (LayerAttention& layer : flash) layer.n_heads = 32;
  EXPECT_EQ(other(*llama, "csa_hca").layers, flash);
}

TEST(Comparison, BytesByFormula) {
  const auto llama = published("llama-3.1-8b");
  EXPECT_DOUBLE_EQ(native(*llama).bytes_per_token, 128 * 1024);
  EXPECT_DOUBLE_EQ(other(*llama, "gqa_8").bytes_per_token, 128 * 1024);
  EXPECT_DOUBLE_EQ(other(*llama, "mha").bytes_per_token, 4 * 128 * 1024);
  EXPECT_DOUBLE_EQ(other(*llama, "mla").bytes_per_token, 32 * 1152);
  EXPECT_DOUBLE_EQ(other(*llama, "dsa").bytes_per_token, 32 * 788);
  EXPECT_DOUBLE_EQ(other(*llama, "csa_hca").bytes_per_token,
                   15 * (584 + 68) / 4.0 + 15 * 584 / 128.0);
  const auto v32 = published("deepseek-v3.2");
  EXPECT_DOUBLE_EQ(other(*v32, "mha").bytes_per_token, 61 * 128 * (192 + 128) * 2.0);
  EXPECT_DOUBLE_EQ(other(*v32, "mla").bytes_per_token, 61 * 1152);

  // Windows of 43 layers and compressor inputs of 21 CSA and 20 HCA layers (spec 12.1).
  const AttentionVariant flash = native(*published("deepseek-v4-flash"));
  EXPECT_DOUBLE_EQ(flash.bytes_per_sequence, 43 * 128 * 584 + 21 * (65536 + 16384) + 20 * 524288);
  EXPECT_DOUBLE_EQ(flash.cache_bytes(kMillion), 3514.25 * kMillion + flash.bytes_per_sequence);
}

TEST(Comparison, FlopsByFormula) {
  const auto llama = published("llama-3.1-8b");
  const DecodeFlops gqa = native(*llama).decode_flops(1e9, 1000);
  EXPECT_DOUBLE_EQ(gqa.weights, 2e9);
  EXPECT_DOUBLE_EQ(gqa.index, 0);
  EXPECT_DOUBLE_EQ(gqa.attention, 2.0 * 32 * 32 * (128 + 128) * 1000);
  EXPECT_DOUBLE_EQ(gqa.fp8_equivalent, gqa.weights + 2 * gqa.attention);

  const AttentionVariant v32 = deepseek_v32_attention();
  const DecodeFlops all = v32.decode_flops(0, 2048), picked = v32.decode_flops(0, 4096);
  EXPECT_DOUBLE_EQ(all.index, 0) << "while all are picked, none is scored";
  EXPECT_DOUBLE_EQ(all.attention, 2.0 * 61 * 128 * (576 + 512) * 2048);
  EXPECT_DOUBLE_EQ(picked.index, 2.0 * 61 * 64 * 128 * 4096);
  EXPECT_DOUBLE_EQ(picked.attention, all.attention);
  EXPECT_DOUBLE_EQ(picked.fp8_equivalent, picked.index + 2 * picked.attention);

  const AttentionVariant flash = native(*published("deepseek-v4-flash"));
  const DecodeFlops deep = flash.decode_flops(0, kMillion);
  EXPECT_DOUBLE_EQ(deep.index, 2.0 * 21 * 64 * 128 * kMillion / 4);
  EXPECT_DOUBLE_EQ(
      deep.attention,
      2.0 * 64 * 1024 * (2.0 * 128 + 21 * (512 + 128) + 20 * (kMillion / 128.0 + 128)));
  EXPECT_DOUBLE_EQ(deep.fp8_equivalent, deep.index / 2 + 2 * deep.attention);
}

}  // namespace
}  // namespace varve
