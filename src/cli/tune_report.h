// What `varve tune` found, and how it is shown: as a table and a paragraph, as JSON, as a profile.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/profile_file.h"
#include "plan/wall.h"
#include "tune/evidence.h"

namespace varve::cli {

struct TuneReport {
  std::string model_name;
  const Model* model = nullptr;
  EngineOptions base;  // what no knob turns
  Space space;
  std::vector<RefusedFormat> refused_formats;
  std::string defaults_refused;  // why they do not fit; empty: they are the start of the search
  std::string weights;           // "mapped" or "copied"
  Wall wall;
  Job job;
  int depth = 0;  // tokens in the cache before the job
  double budget_seconds = 0;
  double seconds = 0;  // that the search took
  Outcome outcome;
  size_t start_planned_bytes = 0, best_planned_bytes = 0;
  std::optional<Bounds> start_bounds, best_bounds;  // nothing: there was no room to measure roofs
  std::vector<ProfileEntry> given;                  // flags of the command line
  std::string profile;                              // the file that was written
};

void print_tune_table(const TuneReport& report);
void print_tune_json(const TuneReport& report);

/// The profile's text: the best setting, and what the command line gave besides.
std::string tune_profile(const TuneReport& report);

}  // namespace varve::cli
