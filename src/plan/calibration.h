// How fast this machine does what a model's tokens need, measured without the model's weights: each
// of its matrices by shape and type, on memory that no cache holds, and the rest of a forward pass
// on stand-ins for the weights, at two depths.
#pragma once

#include <functional>
#include <memory>

#include "engine/engine.h"
#include "kernels/roofs.h"

namespace varve {

/// seconds = fixed + per_mac * multiply-adds.
struct Line {
  double fixed = 0;
  double per_mac = 0;

  double at(double macs) const { return fixed + per_mac * macs; }
  /// Through two measurements; through the mean of both where they tell no slope apart.
  static Line through(double macs1, double seconds1, double macs2, double seconds2);
};

/// Of one kind of step: decoding a token, or reading a chunk.
struct StepTimes {
  int n_tokens = 0;    // 0: not measured
  double weights = 0;  // seconds of all matrices, a token
  double other = 0;    // of what neither weights nor rows are for, a step
  Line attention;      // of a step, over its multiply-adds
  Line index;
};

struct Calibration {
  Roofs roofs;
  StepTimes decode;
  StepTimes chunk;  // see calibrate()
  // Of the time that it took, the share in which other processes had the cores.
  double waited_share = 0;
};

/// `shapes`: of load_shapes(). Takes some seconds, and memory: 256 MiB, then an engine for a
/// context of at most 64K tokens. A chunk is measured where it takes no more than a second or two.
/// With `same`, of other row formats, only what rows take of a decoded token is measured. `on_part`
/// is called after each of kCalibrationParts, with `same` of the last two. Errors (usage): there is
/// not the memory or the address space, found before any of it is touched; no more threads.
inline constexpr int kCalibrationParts = 5;
Result<Calibration> calibrate(
    const std::shared_ptr<const Model>& shapes, const EngineOptions& options,
    const Calibration* same = nullptr, const std::function<void()>& on_part = [] {});

}  // namespace varve
