#include "eval/perplexity.h"

#include <cmath>
#include <vector>

#include "eval/logits.h"

namespace varve {

Perplexity perplexity_of(std::span<const double> nlls) {
  const Estimate nll = estimate(nlls);
  const double perplexity = std::exp(nll.mean);
  return {nlls.size(), nll, {perplexity, perplexity * nll.error}};
}

Result<Perplexity> measure_perplexity(Engine& engine, const TextChunks& text,
                                      const std::function<void(size_t)>& on_tokens) {
  const auto vocab = static_cast<size_t>(engine.model().vocab_size());
  std::vector<double> nlls;
  size_t n_read = 0;
  for (const std::vector<int32_t>& chunk : text.chunks) {
    VARVE_TRY(Session session, engine.new_session());
    // The last token is guessed and not read; position p guesses token p + 1.
    const std::span<const int32_t> read(chunk.data(), chunk.size() - 1);
    const auto score = [&](int first, int n_rows, const float* logits) -> Result<void> {
      const size_t at = nlls.size();
      nlls.resize(at + static_cast<size_t>(n_rows));
      engine.exec().parallel(n_rows, [&](int row, int) {
        const auto r = static_cast<size_t>(row);
        nlls[at + r] = negative_log_likelihood({logits + r * vocab, vocab},
                                               chunk[static_cast<size_t>(first) + r + 1]);
      });
      on_tokens(n_read + static_cast<size_t>(session.n_tokens()));
      return {};
    };
    const int first_scored = static_cast<int>(chunk.size() / 2);
    VARVE_CHECKED(read_with_logits(engine, session, read, first_scored - 1, score));
    n_read += chunk.size();
  }
  return perplexity_of(nlls);
}

}  // namespace varve
