// Where the time of a token went, group by group, beside the roofs of what it was spent on.
#pragma once

#include <string_view>
#include <vector>

#include "plan/roofline.h"

namespace varve {

/// Engine parts whose time is spent on some of the costs: what can be held against each other.
struct TimeGroup {
  std::string_view name;
  std::vector<Part> spent_on;
  std::vector<std::string_view> costs;  // empty: no roof
};

struct GroupTime {
  const TimeGroup* about = nullptr;
  Roofline roofs;      // none of a group without costs
  double seconds = 0;  // measured

  /// Bytes and multiply-adds of all costs, with what binds the one whose roof takes longest.
  PartRoof total() const;
};

/// Groups that took any time. `token`: seconds of one token by part.
std::vector<GroupTime> group_times(const PartTimes& token, const std::vector<PartRoof>& roofs);

/// Costs of a token, on average, when n_tokens are decoded after `depth` others.
std::vector<PartCost> mean_decode_costs(const Model& model, const PoolFormats& formats, int depth,
                                        int n_tokens);

}  // namespace varve
