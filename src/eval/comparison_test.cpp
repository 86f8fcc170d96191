#include "eval/comparison.h"

#include "eval/eval_models.h"

namespace varve {
namespace {

using Engines = std::vector<std::unique_ptr<Engine>>;

std::vector<DivergenceSummary> compare(const std::shared_ptr<const Model>& model,
                                       const EngineOptions& reference,
                                       const std::vector<PoolFormats>& tests,
                                       const TextChunks& text) {
  const ComparisonPlan plan = plan_comparison(*model, reference, tests).value();
  EXPECT_EQ(plan.n_that_fit, tests.size() + 1);
  Engines engines;
  for (const EngineOptions& options : plan.options) {
    engines.push_back(Engine::create(model, options).value());
  }
  return compare_caches(*engines.front(), std::span(engines).subspan(1), text, [](size_t) {})
      .value();
}

TEST(Comparison, OfACacheWithItselfIsExactlyZero) {
  for (const auto& model : {bundled_model(), gqa_model()}) {
    const TextChunks text = cut_chunks(some_ids(200), 100, model->bos_id()).value();
    const auto result = compare(model, {.ctx_tokens = 100, .chunk_tokens = 70},
                                {PoolFormats{}, PoolFormats::all(RowFormat::bf16)}, text);
    ASSERT_EQ(result.size(), 2u);
    EXPECT_EQ(result[0].n, text.chunks.size() * 99);
    EXPECT_EQ(result[0].max, 0);
    EXPECT_EQ(result[0].same_top.mean, 1);
    EXPECT_EQ(result[0].top5_overlap.mean, 1);
    EXPECT_EQ(result[0].delta_p_rms, 0);
    EXPECT_GT(result[1].kld.mean, 0);
    EXPECT_GT(result[1].max, result[1].p99);
    EXPECT_GT(result[1].delta_p_rms, 0);
  }
}

// Neither the chunk nor who else is compared matters.
TEST(Comparison, DoesNotDependOnChunksAndNeighbours) {
  const auto model = bundled_model();
  const TextChunks text = cut_chunks(some_ids(150), 150, model->bos_id()).value();
  const auto native = PoolFormats::all(RowFormat::native);
  const auto alone = compare(model, {.ctx_tokens = 150}, {native}, text);
  const auto among = compare(model, {.ctx_tokens = 150, .chunk_tokens = 33},
                             {PoolFormats::all(RowFormat::f16), native}, text);
  EXPECT_EQ(alone[0].kld.mean, among[1].kld.mean);
  EXPECT_EQ(alone[0].max, among[1].max);
  EXPECT_EQ(alone[0].delta_p.mean, among[1].delta_p.mean);
}

TEST(Comparison, TakesAsManyAsTheBudgetHolds) {
  const auto model = bundled_model();
  EngineOptions options{.ctx_tokens = 512, .chunk_tokens = 64};
  const size_t reference = Engine::plan(*model, options)->arena_bytes;
  options.formats = PoolFormats::all(RowFormat::bf16);
  const size_t test = Engine::plan(*model, options)->arena_bytes;
  options.formats = {};
  const std::vector<PoolFormats> tests(3, PoolFormats::all(RowFormat::bf16));
  options.arena_budget_bytes = reference + 2 * test + comparison_bytes(model->vocab_size());
  const ComparisonPlan plan = plan_comparison(*model, options, tests).value();
  EXPECT_EQ(plan.n_that_fit, 3u);
  EXPECT_EQ(plan.arena_bytes, options.arena_budget_bytes);
  options.arena_budget_bytes = reference + test + comparison_bytes(model->vocab_size()) - 1;
  const auto refused = plan_comparison(*model, options, tests);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::usage);
}

}  // namespace
}  // namespace varve
