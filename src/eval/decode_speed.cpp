#include "eval/decode_speed.h"

#include <algorithm>
#include <vector>

#include "engine/speed.h"
#include "eval/statistics.h"

namespace varve {

Result<double> measure_decode_speed(Engine& engine, const DecodeSpeedOptions& options) {
  const int vocab = engine.model().vocab_size();
  VARVE_TRY(Session session, engine.new_session());
  VARVE_CHECKED(reach_depth(session, vocab, options.depth, Fill::seeded));
  const std::vector<int32_t> ids = random_ids(options.n_tokens, vocab, 1);
  std::vector<double> rates;
  for (int rep = -1; rep < options.repetitions; ++rep) {  // the first warms up
    VARVE_TRY(const Timing timing, time_decode(engine, {&session, 1}, ids));
    if (rep >= 0) rates.push_back(options.n_tokens / timing.seconds);
  }
  std::sort(rates.begin(), rates.end());
  return quantile(rates, 0.5);
}

}  // namespace varve
