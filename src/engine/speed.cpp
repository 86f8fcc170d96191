#include "engine/speed.h"

#include <algorithm>
#include <chrono>

#include "base/rng.h"

namespace varve {
namespace {

// All sessions read the ids, `stride` of them at a time.
Result<void> read(Engine& engine, std::span<Session> sessions, std::span<const int32_t> ids,
                  size_t stride) {
  for (size_t i = 0; i < ids.size(); i += stride) {
    for (Session& session : sessions) VARVE_CHECKED(session.enqueue(ids.subspan(i, stride)));
    while (engine.step() > 0) {
    }
  }
  return {};
}

Result<Timing> time_reading(Engine& engine, std::span<Session> sessions,
                            std::span<const int32_t> ids, size_t stride) {
  std::vector<int> depths;
  depths.reserve(sessions.size());
  for (const Session& session : sessions) depths.push_back(session.n_tokens());
  Timing out;
  const PartTimes before = engine.times();
  const auto begin = std::chrono::steady_clock::now();
  VARVE_CHECKED(read(engine, sessions, ids, stride));
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  for (int p = 0; p < kNumParts; ++p) {
    out.parts.seconds[p] = engine.times().seconds[p] - before.seconds[p];
  }
  for (size_t i = 0; i < sessions.size(); ++i) VARVE_CHECKED(sessions[i].rewind(depths[i]));
  return out;
}

}  // namespace

std::vector<int32_t> random_ids(int n, int vocab_size, uint64_t seed) {
  Rng rng(seed);
  std::vector<int32_t> ids(static_cast<size_t>(n));
  for (int32_t& id : ids) id = static_cast<int32_t>(rng.below(static_cast<uint64_t>(vocab_size)));
  return ids;
}

Result<void> reach_depth(Session& session, int vocab_size, int depth, Fill fill) {
  constexpr uint64_t kSeed = 1;
  if (depth == 0) return {};
  VARVE_CHECKED(fill == Fill::seeded ? session.fill_seeded(depth, kSeed)
                                     : session.append(random_ids(depth, vocab_size, kSeed)));
  session.save_resume_point();
  return {};
}

Result<Timing> time_prefill(Engine& engine, std::span<Session> sessions,
                            std::span<const int32_t> ids) {
  return time_reading(engine, sessions, ids, ids.size());
}

Result<Timing> time_decode(Engine& engine, std::span<Session> sessions,
                           std::span<const int32_t> ids) {
  return time_reading(engine, sessions, ids, 1);
}

double lower_quartile(std::vector<double> values) {
  const auto at = values.begin() + std::ssize(values) / 4;
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace varve
