// The least time that reading tokens can take, part by part, and what binds each.
#pragma once

#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "kernels/roofs.h"

namespace varve {

struct PartRoof {
  PartCost cost;
  double seconds = 0;  // a token's, at least
  std::string_view bound;
};

/// Dot instructions count only with the kernels that use them.
PartRoof part_roof(const PartCost& cost, const EngineOptions& options, const Roofs& roofs);

struct Roofline {
  std::vector<PartRoof> parts;
  double seconds = 0;  // of a token, one part after the other
  /// What binds the part that takes longest.
  std::string_view bound() const;
};
Roofline roofline(const std::vector<PartCost>& costs, const EngineOptions& options,
                  const Roofs& roofs);

}  // namespace varve
