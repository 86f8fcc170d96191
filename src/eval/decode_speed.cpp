#include "eval/decode_speed.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/rng.h"
#include "eval/statistics.h"

namespace varve {

Result<double> measure_decode_speed(Engine& engine, const DecodeSpeedOptions& options) {
  using Clock = std::chrono::steady_clock;
  constexpr uint64_t kSeed = 1;
  VARVE_TRY(Session session, engine.new_session());
  if (options.depth > 0) {
    VARVE_CHECKED(session.fill_seeded(options.depth, kSeed));
    session.save_resume_point();
  }
  Rng rng(kSeed);
  std::vector<int32_t> ids(static_cast<size_t>(options.n_tokens));
  for (int32_t& id : ids) {
    id = static_cast<int32_t>(rng.below(static_cast<uint64_t>(engine.model().vocab_size())));
  }
  std::vector<double> rates;
  for (int rep = -1; rep < options.repetitions; ++rep) {  // the first warms up
    const auto begin = Clock::now();
    for (const int32_t id : ids) VARVE_CHECKED(session.append({&id, 1}));
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    if (rep >= 0) rates.push_back(options.n_tokens / seconds);
    VARVE_CHECKED(session.rewind(options.depth));
  }
  std::sort(rates.begin(), rates.end());
  return quantile(rates, 0.5);
}

}  // namespace varve
