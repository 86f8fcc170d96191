// The flags that say which needles are looked for.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "cli/eval_setup.h"
#include "eval/needle.h"

namespace varve::cli {

struct NeedleSet {
  NeedleOptions options;
  std::vector<NeedleDocument> documents;
};

struct NeedleFlags {
  std::string lengths;                                           // empty: usual_lengths
  std::vector<int> usual_lengths = {1 << 10, 2 << 10, 4 << 10};  // as far as the model goes
  std::vector<int> depths = {0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100};
  int n_documents = 2;
  std::string haystack;  // empty: built in

  void add_to(CLI::App& verb);
  /// Errors (usage): lengths, depths or documents out of range.
  Result<NeedleSet> load(const EvalModel& from) const;
};

}  // namespace varve::cli
