#include "eval/logits.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace varve {

double log_sum_exp(std::span<const float> logits) {
  const double most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - most);
  return most + std::log(sum);
}

double negative_log_likelihood(std::span<const float> logits, int32_t id) {
  return log_sum_exp(logits) - static_cast<double>(logits[static_cast<size_t>(id)]);
}

int rank_of(std::span<const float> logits, int32_t id) {
  const auto at = static_cast<size_t>(id);
  int rank = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    rank += logits[i] > logits[at] || (logits[i] == logits[at] && i < at) ? 1 : 0;
  }
  return rank;
}

Result<void> read_with_logits(Engine& engine, Session& session, std::span<const int32_t> ids,
                              int first, const LogitSink& sink) {
  VARVE_CHECKED(session.enqueue(ids));
  const auto vocab = static_cast<size_t>(engine.model().vocab_size());
  std::vector<float> logits(static_cast<size_t>(kMaxLogitRows) * vocab);
  std::vector<int32_t> rows;
  while (session.n_pending() > 0) {
    const int begin = session.n_tokens();  // position of the step's row 0
    const int n = engine.step();
    for (int row = std::max(0, first - begin); row < n; row += kMaxLogitRows) {
      rows.clear();
      for (int r = row; r < std::min(n, row + kMaxLogitRows); ++r) rows.push_back(r);
      engine.logits_of_rows(rows, logits.data());
      VARVE_CHECKED(sink(begin + row, static_cast<int>(rows.size()), logits.data()));
    }
  }
  return {};
}

}  // namespace varve
