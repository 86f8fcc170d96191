// What `varve plan` says of speed: predicted where this machine can be measured, else bounded by
// roofs.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "plan/calibration_cache.h"
#include "plan/machine.h"
#include "plan/prediction.h"

namespace varve::cli {

/// Tokens a second of one sequence at a depth.
struct PlannedSpeed {
  double decode_at_most = 0;  // by roofs; 0: the one that binds is not known
  std::optional<Prediction> decode;
  std::optional<Prediction> prefill;  // of a chunk there
  std::string_view bound;             // of decoding: of the part that takes longest

  bool is_known() const { return decode_at_most > 0; }
};

class SpeedPlanner {
 public:
  /// Of this machine, whose calibrations are kept in the user's cache; `remeasure`: made anew.
  static Result<SpeedPlanner> of_this_machine(std::shared_ptr<const Model> shapes,
                                              const EngineOptions& options, bool remeasure);
  /// Of one that only its roofs are known of.
  static SpeedPlanner of_roofs(std::shared_ptr<const Model> shapes, const Roofs& roofs);

  /// Options with their chunk chosen. Measures what was not measured before.
  PlannedSpeed at(const EngineOptions& options, int depth);

  const Roofs& roofs() const { return roofs_; }
  /// When, and whether undisturbed: "just now", "3 days ago (--remeasure does it again)".
  std::string age() const;

 private:
  SpeedPlanner(std::shared_ptr<const Model> shapes, std::optional<CalibrationCache> cache)
      : shapes_(std::move(shapes)), cache_(std::move(cache)) {}
  Result<const Calibration*> calibration(const EngineOptions& options);

  std::shared_ptr<const Model> shapes_;
  std::optional<CalibrationCache> cache_;  // nothing: roofs alone
  Roofs roofs_;
  std::map<std::string, Calibration> known_;  // by calibration_key
  std::optional<Calibration> first_;          // whose roofs and matrices hold for all
  bool remeasure_ = false;
  double oldest_days_ = 0;
  double most_waited_ = 0;  // Calibration::waited_share
};

}  // namespace varve::cli
