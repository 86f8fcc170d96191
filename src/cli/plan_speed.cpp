#include "cli/plan_speed.h"

#include <algorithm>

#include "base/contention.h"
#include "cli/progress.h"

namespace varve::cli {

Result<SpeedPlanner> SpeedPlanner::of_this_machine(std::shared_ptr<const Model> shapes,
                                                   const EngineOptions& options, bool remeasure) {
  SpeedPlanner planner(std::move(shapes), CalibrationCache(CalibrationCache::default_directory()));
  planner.remeasure_ = remeasure;
  VARVE_TRY(const Calibration* const calibration, planner.calibration(options));
  planner.first_ = *calibration;
  planner.roofs_ = calibration->roofs;
  return planner;
}

SpeedPlanner SpeedPlanner::of_roofs(std::shared_ptr<const Model> shapes, const Roofs& roofs) {
  SpeedPlanner planner(std::move(shapes), std::nullopt);
  planner.roofs_ = roofs;
  return planner;
}

Result<const Calibration*> SpeedPlanner::calibration(const EngineOptions& options) {
  const std::string key = calibration_key(*shapes_, options);
  if (const auto at = known_.find(key); at != known_.end()) return &at->second;
  double age_days = 0;
  if (const Calibration* const kept = cache_->find(key, &age_days); kept && !remeasure_) {
    oldest_days_ = std::max(oldest_days_, age_days);
    most_waited_ = std::max(most_waited_, kept->waited_share);
    return &known_.emplace(key, *kept).first->second;
  }
  Progress progress("calibrating", kCalibrationParts, "parts");
  int n_done = 0;
  VARVE_TRY(const Calibration measured, calibrate(shapes_, options, first_ ? &*first_ : nullptr,
                                                  [&] { progress.update(++n_done); }));
  progress.finish();
  cache_->insert(key, measured);
  most_waited_ = std::max(most_waited_, measured.waited_share);
  return &known_.emplace(key, measured).first->second;
}

PlannedSpeed SpeedPlanner::at(const EngineOptions& options, int depth) {
  PlannedSpeed speed;
  const Roofline roof = roofline(shapes_->decode_costs(options.formats, depth), options, roofs_);
  speed.decode_at_most = 1 / roof.seconds;
  if (speed.is_known()) speed.bound = roof.bound();
  if (!cache_) return speed;
  const auto known = calibration(options);
  if (!known) return speed;
  speed.decode = predict_decode(*shapes_, options, **known, depth);
  speed.bound = speed.decode->bound();
  const int n = std::min(options.chunk_tokens, shapes_->max_position() - depth);
  if (n > 0 && (*known)->chunk.n_tokens > 0) {
    speed.prefill = predict_prefill(*shapes_, options, **known, depth, n, n);
  }
  return speed;
}

std::string SpeedPlanner::age() const {
  std::string text = "just now";
  if (oldest_days_ > 0) {
    text = oldest_days_ < 1 ? "today" : fmt::format("{:.0f} days ago", oldest_days_);
  }
  if (most_waited_ > kMostWaitedShare) {
    text += fmt::format(", others having its cores {:.0f} % of the time", 100 * most_waited_);
  }
  if (text == "just now") return text;
  return text + " (--remeasure does it again)";
}

}  // namespace varve::cli
