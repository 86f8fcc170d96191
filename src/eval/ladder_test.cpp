#include "eval/ladder.h"

#include <algorithm>
#include <set>

#include "eval/comparison.h"
#include "eval/eval_models.h"

namespace varve {
namespace {

std::vector<RowFormat> all_formats() {
  std::vector<RowFormat> out;
  for (const RowFormatInfo& info : row_formats()) out.push_back(info.format);
  return out;
}

std::set<std::string> specs(const CacheShape& shape, std::span<const RowFormat> formats) {
  std::set<std::string> out;
  const auto candidates = ladder_candidates(shape, formats);
  for (const PoolFormats& one : candidates) out.insert(kv_spec(CacheLayout(shape, one)));
  EXPECT_EQ(out.size(), candidates.size());  // no two alike
  return out;
}

TEST(ParetoFront, OfPointsLowInBoth) {
  const std::vector<ParetoPoint> points = {{1, 9}, {2, 5}, {3, 5}, {4, 1}, {4, 2}, {5, 1}, {0, 20}};
  EXPECT_EQ(pareto_front(points), (std::vector<bool>{true, true, false, true, false, false, true}));
  const std::vector<ParetoPoint> equal = {{1, 1}, {1, 1}, {1, 2}};
  EXPECT_EQ(pareto_front(equal), (std::vector<bool>{true, true, false}));
  EXPECT_TRUE(pareto_front({}).empty());
}

TEST(LadderCandidates, OfKeysAndValues) {
  const CacheShape shape = gqa_model()->cache_shape();
  const std::set<std::string> all = specs(shape, all_formats());
  EXPECT_TRUE(all.contains("all=bf16"));
  EXPECT_TRUE(all.contains("all=f16"));
  EXPECT_FALSE(all.contains("all=f32"));       // larger than bf16
  EXPECT_FALSE(all.contains("k=bf16,v=f16"));  // of one size: each by itself
  for (const PoolFormats& one : ladder_candidates(shape, all_formats())) {
    const CacheLayout layout(shape, one);
    EXPECT_LE(layout.block_pools[Pool::v], layout.block_pools[Pool::k]);
    EXPECT_GE(2 * layout.block_pools[Pool::v], layout.block_pools[Pool::k]);
  }
}

TEST(LadderCandidates, OfPoolsEachByItself) {
  const std::vector<RowFormat> formats = {RowFormat::bf16, RowFormat::native};
  EXPECT_EQ(specs(bundled_model()->cache_shape(), formats),
            (std::set<std::string>{"all=bf16", "all=native", "all=bf16,window=native",
                                   "all=bf16,csa=native", "all=bf16,hca=native",
                                   "all=bf16,index=native"}));
  const auto dsa = model_at("tests/data/goldens/dsa-deepseek-v32");
  EXPECT_EQ(specs(dsa->cache_shape(), formats),
            (std::set<std::string>{"all=bf16", "all=native", "index=native,latent=bf16",
                                   "index=bf16,latent=native"}));
  const auto mla = model_at("tests/data/goldens/mla-deepseek-v3");
  EXPECT_EQ(specs(mla->cache_shape(), formats), (std::set<std::string>{"all=bf16", "all=native"}));
}

TEST(KvSpec, NamesWhatIsNotUsual) {
  const CacheShape shape = bundled_model()->cache_shape();
  PoolFormats formats = PoolFormats::all(RowFormat::f16);
  formats.index = RowFormat::native;
  EXPECT_EQ(kv_spec(CacheLayout(shape, formats)), "all=f16,index=native");
  formats.window = RowFormat::native;
  formats.csa = RowFormat::bf16;
  EXPECT_EQ(kv_spec(CacheLayout(shape, formats)), "all=native,csa=bf16,hca=f16");
  formats.k = RowFormat::f32;  // the model has none
  EXPECT_EQ(kv_spec(CacheLayout(shape, formats)), "all=native,csa=bf16,hca=f16");
}

TEST(LadderCandidates, NoneWhereNoPoolTakesTheFormat) {
  const std::vector<RowFormat> formats = {RowFormat::native};
  EXPECT_TRUE(ladder_candidates(gqa_model()->cache_shape(), formats).empty());
}

TEST(CacheBytesPerToken, CountsWindowsOnce) {
  const CacheLayout layout(bundled_model()->cache_shape(), PoolFormats::all(RowFormat::bf16));
  const double rows = 4.0 * 64 * 128 * 2;  // layers, window, head_dim, bytes
  EXPECT_DOUBLE_EQ(cache_bytes_per_token(layout, 1024), layout.bytes_per_token() + rows / 1024);
  const CacheLayout gqa(gqa_model()->cache_shape(), {});
  EXPECT_DOUBLE_EQ(cache_bytes_per_token(gqa, 10), gqa.bytes_per_token());
}

TEST(Ladder, IsSortedByBytesAndTheSameInGroups) {
  const auto model = gqa_model();
  const TextChunks text = cut_chunks(some_ids(100), 100, model->bos_id()).value();
  LadderOptions options{
      .engine = {.ctx_tokens = 100, .chunk_tokens = 64, .resume_points = 0},
      .candidates = {PoolFormats::all(RowFormat::f32), PoolFormats::all(RowFormat::bf16),
                     PoolFormats::all(RowFormat::f16)},
      .decode = {.depth = 20, .n_tokens = 2, .repetitions = 1}};
  const auto ladder = [&] {
    return measure_ladder(model, options, text, {}, [](std::string_view, double, double) {})
        .value();
  };
  const auto rungs = ladder();
  ASSERT_EQ(rungs.size(), 3u);
  EXPECT_EQ(rungs[0].kv, "all=f16");  // as many bytes as bf16, and closer
  EXPECT_EQ(rungs[1].kv, "all=bf16");
  EXPECT_EQ(rungs[2].kv, "all=f32");
  EXPECT_EQ(rungs[2].divergence.max, 0);
  EXPECT_TRUE(rungs[0].is_on_front);
  EXPECT_FALSE(rungs[1].is_on_front);
  EXPECT_TRUE(rungs[2].is_on_front);
  for (const LadderRung& rung : rungs) EXPECT_GT(rung.decode_tokens_per_s, 0);

  // Memory for one candidate at a time: the same figures.
  const size_t two = Engine::plan(*model, options.engine)->arena_bytes * 2;
  options.engine.arena_budget_bytes = two + comparison_bytes(model->vocab_size());
  EXPECT_EQ(plan_comparison(*model, options.engine, options.candidates).value().n_that_fit, 2u);
  const auto in_turn = ladder();
  for (size_t i = 0; i < rungs.size(); ++i) {
    EXPECT_EQ(in_turn[i].kv, rungs[i].kv);
    EXPECT_EQ(in_turn[i].divergence.kld.mean, rungs[i].divergence.kld.mean);
  }
}

}  // namespace
}  // namespace varve
