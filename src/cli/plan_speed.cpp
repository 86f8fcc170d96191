#include "cli/plan_speed.h"

#include <algorithm>

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
    return &known_.emplace(key, *kept).first->second;
  }
  Progress progress("calibrating", kCalibrationParts, "parts");
  int n_done = 0;
  VARVE_TRY(const Calibration measured, calibrate(shapes_, options, first_ ? &*first_ : nullptr,
                                                  [&] { progress.update(++n_done); }));
  progress.finish();
  cache_->insert(key, measured);
  return &known_.emplace(key, measured).first->second;
}

PlannedSpeed SpeedPlanner::at(const EngineOptions& options, int depth) {
  PlannedSpeed speed;
  const Roofline roof = roofline(shapes_->decode_costs(options.formats, depth), options, roofs_);
  speed.decode_at_most = 1 / roof.seconds;
  speed.bound = roof.bound();
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
  if (oldest_days_ == 0) return "just now";
  if (oldest_days_ < 1) return "today (--remeasure does it again)";
  return fmt::format("{:.0f} days ago (--remeasure does it again)", oldest_days_);
}

}  // namespace varve::cli
