#include "tune/evidence.h"

#include <algorithm>

#include "engine/speed.h"

namespace varve {
namespace {

constexpr double kEnough = 0.95;  // of the best rate
constexpr double kFalls = 0.97;   // below this gain more threads do harm
constexpr double kScales = 0.5;   // of the gain that is possible

Trend trend_of(double gain, double possible_gain) {
  if (gain < kFalls) return Trend::falls;
  return gain - 1 >= kScales * (possible_gain - 1) ? Trend::scales : Trend::flattens;
}

// The sample at the lower quartile.
const Sample& typical(const std::vector<Sample>& samples, double Sample::* seconds) {
  std::vector<double> values;
  values.reserve(samples.size());
  for (const Sample& sample : samples) values.push_back(sample.*seconds);
  const double quartile = lower_quartile(std::move(values));
  return *std::find_if(samples.begin(), samples.end(),
                       [&](const Sample& sample) { return sample.*seconds == quartile; });
}

// Of a step that decodes a token of each sequence, per token: they share the weights.
std::vector<PartCost> decode_costs(const Model& model, const EngineOptions& options, const Job& job,
                                   int depth) {
  auto costs = mean_decode_costs(model, options.formats, depth, job.decode_tokens);
  const int n = options.n_sessions;
  const auto step = model.prefill_costs(options.formats, depth, n, n);
  for (size_t i = 0; i < costs.size(); ++i) {
    if (costs[i].part == "weights") costs[i] = step[i];
  }
  return costs;
}

}  // namespace

std::vector<SweepPoint> sweep_of(const Space& space, const Outcome& outcome, Knob knob) {
  const std::vector<int>& values = knob == Knob::threads ? space.threads : space.chunks;
  std::vector<SweepPoint> out;
  for (int level = 0; level < space.n_levels(knob); ++level) {
    Setting setting = space.start;
    setting[knob] = level;
    const auto at = std::find_if(outcome.sweep.begin(), outcome.sweep.end(),
                                 [&](const Candidate& c) { return c.setting == setting; });
    if (at == outcome.sweep.end() || at->samples.empty()) continue;
    out.push_back(
        {values[static_cast<size_t>(level)], 1 / at->prefill_seconds(), 1 / at->decode_seconds()});
  }
  return out;
}

ThreadTrend thread_trend(const std::vector<SweepPoint>& threads) {
  if (threads.empty()) return {};
  const SweepPoint& last = threads.back();
  const auto half = std::find_if(threads.rbegin(), threads.rend(), [&](const SweepPoint& point) {
    return 2 * point.value <= last.value;
  });
  if (half == threads.rend()) return {};
  const double possible = static_cast<double>(last.value) / half->value;
  ThreadTrend out{half->value, last.value, last.prefill_tokens_per_s / half->prefill_tokens_per_s,
                  last.decode_tokens_per_s / half->decode_tokens_per_s};
  out.prefill = trend_of(out.prefill_gain, possible);
  out.decode = trend_of(out.decode_gain, possible);
  return out;
}

ChunkTrend chunk_trend(const std::vector<SweepPoint>& chunks) {
  if (chunks.size() < 2) return {};
  const auto best =
      std::max_element(chunks.begin(), chunks.end(), [](const SweepPoint& a, const SweepPoint& b) {
        return a.prefill_tokens_per_s < b.prefill_tokens_per_s;
      });
  const auto enough = std::find_if(chunks.begin(), chunks.end(), [&](const SweepPoint& point) {
    return point.prefill_tokens_per_s >= kEnough * best->prefill_tokens_per_s;
  });
  return {chunks.front().value, best->value, enough->value, chunks.front().prefill_tokens_per_s,
          best->prefill_tokens_per_s};
}

Bound bound_of(const std::vector<GroupTime>& groups) {
  double total = 0;
  for (const GroupTime& group : groups) total += group.seconds;
  const auto longest = std::max_element(
      groups.begin(), groups.end(),
      [](const GroupTime& a, const GroupTime& b) { return a.seconds < b.seconds; });
  if (longest == groups.end()) return {};
  return {longest->about->name, longest->seconds / total, longest->roofs.bound(),
          longest->roofs.seconds / longest->seconds};
}

Bounds bounds_of(const Candidate& candidate, const Model& model, const EngineOptions& options,
                 const Roofs& roofs, const Job& job, int depth) {
  const auto bound = [&](const PartTimes& token, const std::vector<PartCost>& costs) {
    return bound_of(group_times(token, roofline(costs, options, roofs).parts));
  };
  return {
      bound(typical(candidate.samples, &Sample::prefill_seconds).prefill_parts,
            model.prefill_costs(options.formats, depth, job.prefill_tokens, options.chunk_tokens)),
      bound(typical(candidate.samples, &Sample::decode_seconds).decode_parts,
            decode_costs(model, options, job, depth))};
}

}  // namespace varve
