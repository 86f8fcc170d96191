// What `varve plan` found, and how it is shown: as tables, as JSON.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/plan_speed.h"
#include "plan/trial.h"
#include "plan/ways.h"

namespace varve::cli {

struct PlanColumn {
  int ctx = 0;
  Footprint footprint;
  PlannedSpeed speed;  // at its end
};

struct Plan {
  std::string model_name;
  const Model* model = nullptr;
  EngineOptions options;
  Machine machine;
  std::string speed_source;  // how speeds are known, for people
  Footprint footprint;
  int largest_ctx = 0;
  std::vector<PlanColumn> columns;
  PlannedSpeed speed;  // at the end of the context
  std::vector<Way> ways;
  std::vector<PlannedSpeed> way_speeds;  // of each, likewise
  std::optional<Trial> trial;

  bool fits(const Footprint& some) const { return some.total_bytes() <= machine.memory_bytes; }
};

void print_plan(const Plan& plan);
void print_plan_json(const Plan& plan);

}  // namespace varve::cli
