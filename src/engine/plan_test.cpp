#include <gtest/gtest.h>

#include <functional>

#include "engine/engine.h"
#include "models/deepseek_v4/model.h"
#include "models/deepseek_v4/synthetic.h"
#include "models/mla/model.h"

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

TEST(Plan, TheCacheIsToldApartByPool) {
  const auto model = shape_of("flash-6l");
  const auto plan = Engine::plan(model, native_at(1 << 20));
  ASSERT_TRUE(plan) << plan.error().message;
  const CacheLayout layout(model.cache_shape(), PoolFormats::all(RowFormat::native));
  const CacheBytes& cache = plan->cache;
  EXPECT_EQ(static_cast<double>(cache.pools[Pool::csa] + cache.pools[Pool::hca] +
                                cache.pools[Pool::index]),
            layout.bytes_per_token() * (1 << 20));
  EXPECT_EQ(cache.pools[Pool::window],
            size_t{6} * 128 * 584 * 5);  // the live slot and 4 resume points
  EXPECT_LE(cache.sum(), plan->cache_bytes());
  EXPECT_GE(cache.sum(), plan->cache_bytes() / 100 * 97);
}

TEST(Plan, ScratchOfAMillionTokensStaysWithin200MiB) {
  for (const char* const preset : {"flash-6l", "pro-4l"}) {
    const auto plan = Engine::plan(shape_of(preset), native_at(1 << 20));
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_LE(plan->scratch_bytes(), size_t{200} << 20) << preset;
    EXPECT_GE(plan->chunk_tokens, 64) << preset;
  }
}

// DeepSeek-V3.2, but for what `change` does to it.
size_t mla_scratch_bytes(const std::function<void(mla::Config&)>& change) {
  const std::string file = std::string(VARVE_SOURCE_DIR) + "/models/configs/deepseek-v3.2.json";
  mla::Config config = mla::parse_config(JsonObject::read(file).value()).value();
  change(config);
  EngineOptions options = native_at(1000);
  options.chunk_tokens = 64;
  return Engine::plan(mla::Mla(config, {}, {}), options)->scratch_bytes();
}

TEST(Plan, PicksOfATokenAreNoMoreThanItsContext) {
  EXPECT_EQ(mla_scratch_bytes([](mla::Config& c) { c.index_topk = 1 << 20; }),
            mla_scratch_bytes([](mla::Config& c) { c.index_topk = 1000; }));
}

TEST(Plan, DenseLayersTakeNothingForExperts) {
  const auto dense = [](int moe_dim) {
    return mla_scratch_bytes([&](mla::Config& c) {
      c.n_experts = 0;
      c.n_dense_layers = c.n_layers;
      c.moe_dim = moe_dim;
    });
  };
  EXPECT_EQ(dense(2048), dense(0));
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

TEST(Plan, ABudgetMakesTheChunkSmaller) {
  const auto model = shape_of("flash-6l");
  EngineOptions options = native_at(8192);
  const auto free = Engine::plan(model, options);
  options.arena_budget_bytes = free->arena_bytes;
  EXPECT_EQ(Engine::plan(model, options)->chunk_tokens, free->chunk_tokens);
  options.arena_budget_bytes = free->arena_bytes - 1;
  const auto tight = Engine::plan(model, options);
  EXPECT_EQ(tight->chunk_tokens, free->chunk_tokens / 2);
  EXPECT_LE(tight->arena_bytes, options.arena_budget_bytes);
  options.arena_budget_bytes = 1;
  EXPECT_EQ(Engine::plan(model, options)->chunk_tokens, 32);
}

TEST(Plan, ThreadsTakeNothingFromTheChunk) {
  const auto model = shape_of("flash-6l");
  EngineOptions options = native_at(1 << 20);
  const auto two = Engine::plan(model, options);
  options.n_threads = 256;
  const auto many = Engine::plan(model, options);
  ASSERT_TRUE(two && many);
  EXPECT_EQ(many->chunk_tokens, two->chunk_tokens);
  EXPECT_GT(many->thread_bytes(), two->thread_bytes());
  EXPECT_EQ(many->scratch_bytes() - many->thread_bytes(),
            two->scratch_bytes() - two->thread_bytes());
}

TEST(Plan, TheLargestContextIsTheLastThatFitsTheBudget) {
  const auto model = shape_of("flash-6l");
  EngineOptions options = native_at(1 << 20);
  EXPECT_EQ(Engine::largest_context(model, options), 1 << 20);
  options.arena_budget_bytes = size_t{100} << 20;
  const int context = Engine::largest_context(model, options);
  ASSERT_GT(context, 0);
  ASSERT_LT(context, 1 << 20);
  EXPECT_EQ(context % kBlockTokens, 0);
  options.ctx_tokens = context;
  EXPECT_LE(Engine::plan(model, options)->arena_bytes, options.arena_budget_bytes);
  options.ctx_tokens = context + kBlockTokens;
  EXPECT_GT(Engine::plan(model, options)->arena_bytes, options.arena_budget_bytes);
  options.arena_budget_bytes = 1;
  EXPECT_EQ(Engine::largest_context(model, options), 0);
}

// Refuses the options, and returns the sentence.
std::string refusal(const std::shared_ptr<const Model>& model, const EngineOptions& options) {
  const auto engine = Engine::create(model, options);
  EXPECT_FALSE(engine);
  if (engine) return "";
  EXPECT_EQ(engine.error().kind, ErrorKind::usage);
  return engine.error().message;
}

TEST(Plan, WhatDoesNotFitTheBudgetIsRefusedWithTheNumbers) {
  const auto model = std::make_shared<const deepseek_v4::DeepseekV4>(shape_of("micro"));
  EngineOptions options = native_at(1 << 16);
  const size_t bytes = Engine::plan(*model, options)->arena_bytes;
  options.chunk_tokens = Engine::plan(*model, options)->chunk_tokens;
  options.arena_budget_bytes = bytes;
  EXPECT_TRUE(Engine::create(model, options));
  options.arena_budget_bytes = bytes - 1;
  const std::string message = refusal(model, options);
  for (const std::string& part : {fmt::format("65536 tokens of context need {} bytes (", bytes),
                                  fmt::format("; the budget is {} (", bytes - 1)}) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace varve
