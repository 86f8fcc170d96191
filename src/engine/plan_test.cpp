#include <gtest/gtest.h>

#include "engine/engine.h"
#include "models/deepseek_v4/model.h"
#include "models/deepseek_v4/synthetic.h"

namespace varve {
namespace {

// The shape of a preset, without weights: it can be planned and not run.
deepseek_v4::DeepseekV4 shape_of(std::string_view preset) {
  return {(*deepseek_v4::find_synthetic_preset(preset))->config, {}, {}};
}

EngineOptions native_at(int ctx_tokens) {
  return {.ctx_tokens = ctx_tokens,
          .n_threads = 2,
          .products = Products::bf16,
          .formats = PoolFormats::all(RowFormat::native)};
}

TEST(Plan, PartsAddUp) {
  const auto plan = Engine::plan(shape_of("flash-6l"), native_at(4096));
  ASSERT_TRUE(plan) << plan.error().message;
  size_t sum = 0;
  for (const ArenaPart& part : plan->parts) sum += part.bytes;
  EXPECT_EQ(sum, plan->arena_bytes);
  EXPECT_EQ(plan->cache_bytes() + plan->logits_bytes() + plan->scratch_bytes(), sum);
  EXPECT_EQ(plan->logits_bytes(), size_t{2} * 8192 * sizeof(float));
  EXPECT_GT(plan->cache_bytes(), 0u);
  EXPECT_GT(plan->scratch_bytes(), 0u);
}

TEST(Plan, ScratchOfAMillionTokensStaysWithin200MiB) {
  for (const char* const preset : {"flash-6l", "pro-4l"}) {
    const auto plan = Engine::plan(shape_of(preset), native_at(1 << 20));
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_LE(plan->scratch_bytes(), size_t{200} << 20) << preset;
    EXPECT_GE(plan->chunk_tokens, 64) << preset;
  }
}

TEST(Plan, TheChunkIsTheLargestWhoseScratchStaysWithinTheLimit) {
  const auto model = shape_of("flash-6l");
  EngineOptions options = native_at(8192);
  const auto plan = Engine::plan(model, options);
  ASSERT_TRUE(plan) << plan.error().message;
  ASSERT_LT(plan->chunk_tokens, 512);
  options.chunk_tokens = plan->chunk_tokens;
  EXPECT_EQ(Engine::plan(model, options)->arena_bytes, plan->arena_bytes);
  options.chunk_tokens *= 2;
  EXPECT_GT(Engine::plan(model, options)->scratch_bytes(), kMaxAutoScratchBytes);
}

TEST(Plan, AGivenChunkIsKeptUpToTheContext) {
  const auto model = shape_of("micro");
  for (const auto& [asked, kept] : {std::pair{1, 1}, {100, 100}, {2000, 1000}, {0, 512}}) {
    EngineOptions options = native_at(1000);
    options.chunk_tokens = asked;
    EXPECT_EQ(Engine::plan(model, options)->chunk_tokens, kept);
  }
}

}  // namespace
}  // namespace varve
