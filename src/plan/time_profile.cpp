#include "plan/time_profile.h"

#include <algorithm>

namespace varve {
namespace {

const std::vector<TimeGroup>& time_groups() {
  static const std::vector<TimeGroup> groups = {
      {"weights",
       {Part::linears, Part::experts, Part::mlp, Part::head, Part::hyper_connections, Part::embed},
       {"weights"}},
      {"attention",
       {Part::attention},
       {"window rows", "CSA entries", "HCA entries", "latent rows", "keys", "values"}},
      {"indexer", {Part::index}, {"index keys"}},
      {"compressor", {Part::compress}, {}}};
  return groups;
}

}  // namespace

PartRoof GroupTime::total() const {
  PartRoof sum{.cost = {}, .seconds = roofs.seconds, .bound = roofs.bound()};
  for (const PartRoof& roof : roofs.parts) {
    sum.cost.bytes += roof.cost.bytes;
    sum.cost.macs += roof.cost.macs;
  }
  return sum;
}

std::vector<GroupTime> group_times(const PartTimes& token, const std::vector<PartRoof>& roofs) {
  std::vector<GroupTime> out;
  for (const TimeGroup& about : time_groups()) {
    GroupTime group{.about = &about, .roofs = {}};
    for (const Part part : about.spent_on) group.seconds += token.seconds[static_cast<int>(part)];
    for (const PartRoof& roof : roofs) {
      if (std::find(about.costs.begin(), about.costs.end(), roof.cost.part) == about.costs.end()) {
        continue;
      }
      group.roofs.parts.push_back(roof);
      group.roofs.seconds += roof.seconds;
    }
    if (group.seconds > 0) out.push_back(std::move(group));
  }
  return out;
}

std::vector<PartCost> mean_decode_costs(const Model& model, const PoolFormats& formats, int depth,
                                        int n_tokens) {
  std::vector<PartCost> mean = model.decode_costs(formats, depth);
  for (int i = 1; i < n_tokens; ++i) {
    const std::vector<PartCost> more = model.decode_costs(formats, depth + i);
    for (size_t part = 0; part < mean.size(); ++part) {
      mean[part].bytes += more[part].bytes;
      mean[part].macs += more[part].macs;
    }
  }
  for (PartCost& cost : mean) {
    cost.bytes /= n_tokens;
    cost.macs /= n_tokens;
  }
  return mean;
}

}  // namespace varve
