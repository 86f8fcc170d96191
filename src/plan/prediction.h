// Tokens a second before anything runs: from what a token reads and multiplies, and from how fast
// this machine was measured to do it.
#pragma once

#include <string_view>
#include <vector>

#include "plan/calibration.h"
#include "plan/roofline.h"

namespace varve {

/// Of one group of parts, per token.
struct PredictedPart {
  std::string_view name;  // "weights", "attention", "indexer", "other"
  double seconds = 0;
  double roof_seconds = 0;  // at least; 0: no roof
  /// "read bandwidth", a kind of multiply-adds, or "scheduling": neither of them takes half of the
  /// time, but what lies between (threads that meet, chunks too small, instructions besides).
  std::string_view bound;
};

struct Prediction {
  std::vector<PredictedPart> parts;

  double seconds() const;
  double tokens_per_s() const { return 1 / seconds(); }
  /// Of the part that takes longest.
  std::string_view bound() const;
};

/// The token after `depth` others.
Prediction predict_decode(const Model& model, const EngineOptions& options,
                          const Calibration& calibration, int depth);

/// Reading n_tokens after `depth` others; nothing where the calibration has no chunk.
Prediction predict_prefill(const Model& model, const EngineOptions& options,
                           const Calibration& calibration, int depth, int n_tokens,
                           int chunk_tokens);

}  // namespace varve
