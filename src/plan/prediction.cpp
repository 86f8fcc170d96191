#include "plan/prediction.h"

#include <algorithm>

namespace varve {
namespace {

// A resource that is busy for less than this share of the time does not bind.
constexpr double kBindingShare = 0.5;

struct Group {
  double macs = 0;
  double roof_seconds = 0;
  double longest = 0;
  std::string_view bound;

  void add(const PartRoof& roof) {
    macs += roof.cost.macs;
    roof_seconds += roof.seconds;
    if (roof.seconds < longest) return;
    longest = roof.seconds;
    bound = roof.bound;
  }
  PredictedPart part(std::string_view name, double seconds) const {
    return {name, seconds, roof_seconds,
            roof_seconds >= kBindingShare * seconds ? bound : std::string_view("scheduling")};
  }
};

// A step of `n_tokens`, whose costs per token these are, as `times` has measured one of its kind.
Prediction predict(const std::vector<PartCost>& costs, const EngineOptions& options,
                   const Roofs& roofs, const StepTimes& times, int n_tokens) {
  Group weights, attention, index;
  for (const PartCost& cost : costs) {
    Group& group = cost.part == "weights" ? weights : cost.part == "index keys" ? index : attention;
    group.add(part_roof(cost, options, roofs));
  }
  const double tokens = times.n_tokens;
  // A longer step than the one that was measured is so many of them.
  const double steps = n_tokens / tokens;
  Prediction out;
  out.parts = {
      weights.part("weights", times.weights),
      attention.part("attention", times.attention.at(attention.macs * n_tokens / steps) / tokens),
      {"other", times.other / tokens, 0, "scheduling"}};
  if (index.macs > 0) {
    out.parts.push_back(
        index.part("indexer", times.index.at(index.macs * n_tokens / steps) / tokens));
  }
  return out;
}

}  // namespace

double Prediction::seconds() const {
  double sum = 0;
  for (const PredictedPart& part : parts) sum += part.seconds;
  return sum;
}

std::string_view Prediction::bound() const {
  const auto longest = std::max_element(
      parts.begin(), parts.end(),
      [](const PredictedPart& a, const PredictedPart& b) { return a.seconds < b.seconds; });
  return longest == parts.end() ? std::string_view() : longest->bound;
}

Prediction predict_decode(const Model& model, const EngineOptions& options,
                          const Calibration& calibration, int depth) {
  return predict(model.decode_costs(options.formats, depth), options, calibration.roofs,
                 calibration.decode, 1);
}

Prediction predict_prefill(const Model& model, const EngineOptions& options,
                           const Calibration& calibration, int depth, int n_tokens,
                           int chunk_tokens) {
  if (calibration.chunk.n_tokens == 0) return {};
  return predict(model.prefill_costs(options.formats, depth, n_tokens, chunk_tokens), options,
                 calibration.roofs, calibration.chunk, chunk_tokens);
}

}  // namespace varve
