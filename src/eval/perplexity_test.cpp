#include "eval/perplexity.h"

#include <cmath>

#include "eval/eval_models.h"
#include "eval/logits.h"

namespace varve {
namespace {

TEST(Perplexity, OfLikelihoods) {
  const std::vector<double> nlls = {std::log(2.0), std::log(8.0)};  // the mean is log 4
  const Perplexity result = perplexity_of(nlls);
  EXPECT_EQ(result.n_scored, 2u);
  EXPECT_DOUBLE_EQ(result.perplexity.mean, 4);
  EXPECT_DOUBLE_EQ(result.nll.error, std::log(2.0));  // s = sqrt(2) log 2, over sqrt(2)
  EXPECT_DOUBLE_EQ(result.perplexity.error, 4 * std::log(2.0));
}

// Against logits of tokens that are read one by one.
TEST(Perplexity, ScoresTheSecondHalfOfEachChunk) {
  const auto model = bundled_model();
  const TextChunks text = cut_chunks(some_ids(60), 21, model->bos_id()).value();
  ASSERT_EQ(text.chunks.size(), 3u);
  std::vector<double> expected;
  auto one_by_one = Engine::create(model, {.ctx_tokens = 21}).value();
  for (const auto& chunk : text.chunks) {
    Session session = one_by_one->new_session().value();
    for (size_t i = 0; i + 1 < chunk.size(); ++i) {
      ASSERT_TRUE(session.append({&chunk[i], 1}));
      if (i + 1 < 10) continue;
      expected.push_back(negative_log_likelihood(session.logits(), chunk[i + 1]));
    }
  }
  for (const int chunk_tokens : {4, 64}) {
    auto engine = Engine::create(model, {.ctx_tokens = 21, .chunk_tokens = chunk_tokens}).value();
    size_t heard = 0;
    const Perplexity result =
        measure_perplexity(*engine, text, [&](size_t n) { heard = n; }).value();
    EXPECT_EQ(result.n_scored, 3u * 11);
    EXPECT_EQ(heard, 3u * 21 - 1);
    const Perplexity same = perplexity_of(expected);
    EXPECT_EQ(result.nll.mean, same.nll.mean);
    EXPECT_EQ(result.nll.error, same.nll.error);
  }
}

}  // namespace
}  // namespace varve
