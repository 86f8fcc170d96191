// Plans of published models from their configs alone: figures of the specification (12.2) and of
// the models' own papers, and what a memory leaves room for.
#include "plan/footprint.h"

#include <gtest/gtest.h>

#include "plan/ways.h"

namespace varve {
namespace {

std::unique_ptr<Model> published(const std::string& name) {
  auto model = load_shapes(std::string(VARVE_SOURCE_DIR) + "/models/configs/" + name + ".json");
  EXPECT_TRUE(model) << model.error().message;
  return model ? std::move(*model) : nullptr;
}

EngineOptions native(int ctx) {
  EngineOptions options;
  options.ctx_tokens = ctx;
  options.formats = PoolFormats::all(RowFormat::native);
  options.products = Products::bf16;
  options.n_threads = 2;
  return options;
}

ProcessBytes beside(const Model& model) {
  return process_bytes(model, nullptr, 2);
}

TEST(Footprint, OfPublishedModels) {
  struct Case {
    const char* name;
    double bytes_per_token;
  };
  for (const Case& c : {Case{"llama-3.1-8b", 32 * 2 * 8 * 128 * 2.0},
                        {"qwen2.5-7b", 28 * 2 * 4 * 128 * 2.0},
                        {"qwen3-8b", 36 * 2 * 8 * 128 * 2.0},
                        {"smollm2-135m", 30 * 2 * 3 * 64 * 2.0},
                        {"deepseek-v4-flash", 3514.25},
                        {"deepseek-v4-pro", 5031.4375}}) {
    const auto model = published(c.name);
    ASSERT_TRUE(model);
    const CacheLayout layout(model->cache_shape(), PoolFormats::all(RowFormat::native));
    EXPECT_DOUBLE_EQ(layout.bytes_per_token(), c.bytes_per_token) << c.name;
  }
  const auto llama = published("llama-3.1-8b");
  const auto taken = footprint(*llama, native(32 << 10), beside(*llama), size_t{24} << 30);
  ASSERT_TRUE(taken) << taken.error().message;
  EXPECT_EQ(taken->memory.cache.pools[Pool::k] + taken->memory.cache.pools[Pool::v],
            size_t{4} << 30);
}

TEST(Footprint, PartsAddUp) {
  for (const char* const name : {"llama-3.1-8b", "deepseek-v4-flash", "deepseek-v3.2"}) {
    const auto model = published(name);
    const auto taken = footprint(*model, native(16 << 10), beside(*model), size_t{24} << 30);
    ASSERT_TRUE(taken) << taken.error().message;
    size_t sum = 0;
    for (const FootprintPart& part : taken->parts) sum += part.bytes;
    EXPECT_EQ(sum, taken->total_bytes()) << name;
  }
}

TEST(Footprint, TheLargestContextIsTheLastThatFits) {
  const auto model = published("qwen3-8b");
  const size_t memory = size_t{18} << 30;
  const int largest = largest_context_within(*model, native(1), beside(*model), memory);
  ASSERT_GT(largest, 0);
  const auto total = [&](int ctx) {
    return footprint(*model, native(ctx), beside(*model), memory)->total_bytes();
  };
  EXPECT_LE(total(largest), memory);
  EXPECT_GT(total(largest + kBlockTokens), memory);
  EXPECT_EQ(largest_context_within(*model, native(1), beside(*model), model->weight_bytes()), 0);
}

TEST(Ways, TakeLessThanWhatWasAsked) {
  for (const char* const name : {"llama-3.1-8b", "deepseek-v4-flash", "deepseek-v3.2"}) {
    const auto model = published(name);
    EngineOptions options = native(64 << 10);
    options.n_sessions = 4;
    const auto ways = ways_to_fit(*model, options, beside(*model), size_t{24} << 30);
    ASSERT_TRUE(ways) << ways.error().message;
    ASSERT_GT(ways->size(), 1u) << name;
    for (size_t i = 1; i < ways->size(); ++i) {
      EXPECT_LT((*ways)[i].footprint.total_bytes(), ways->front().footprint.total_bytes())
          << name << " " << (*ways)[i].flags;
    }
  }
}

TEST(ParseDevice, GpusAndMistakes) {
  const auto gpu = parse_device("gpu:1008G,165T,24G");
  ASSERT_TRUE(gpu) << gpu.error().message;
  EXPECT_DOUBLE_EQ(gpu->roofs.read_bytes_per_s, 1008e9);
  EXPECT_DOUBLE_EQ(gpu->roofs.bf16_macs_per_s, 82.5e12);
  EXPECT_EQ(gpu->memory_bytes, size_t{24} << 30);
  EXPECT_EQ(gpu->known, Known::assumed);
  for (const char* const wrong : {"gpu", "gpu:1,2", "gpu:1,2,3,4", "gpu:a,2,3", "gpu:1,2,8Q",
                                  "gpu:-1,2,3", "gpu:1,,3", "tpu:1,2,3"}) {
    EXPECT_FALSE(parse_device(wrong)) << wrong;
  }
}

TEST(ParseBytes, UnitsAndMistakes) {
  EXPECT_EQ(parse_bytes("--memory", "8G").value(), size_t{8} << 30);
  EXPECT_EQ(parse_bytes("--memory", "1.5GiB").value(), size_t{3} << 29);
  EXPECT_EQ(parse_bytes("--memory", "100").value(), 100u);
  EXPECT_EQ(parse_bytes("--memory", "100B").value(), 100u);
  for (const char* const wrong : {"", "8Q", "8 G", "-1", "0", "nan", "1e30", "8GG", "GiB", "0x8"}) {
    const auto bytes = parse_bytes("--memory", wrong);
    ASSERT_FALSE(bytes) << wrong;
    EXPECT_NE(bytes.error().message.find("--memory"), std::string::npos);
  }
}

}  // namespace
}  // namespace varve
