// The flags that every verb that draws tokens shares.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "engine/sampler.h"

namespace varve::cli {

struct SamplerFlags {
  SamplerOptions sampler;
  std::vector<std::string> logit_bias;

  /// Adds the flags to a verb.
  void add_to(CLI::App& verb);

  /// What the flags ask for. Error (usage): a bias that is not ID:BIAS.
  Result<SamplerOptions> options() const;
};

}  // namespace varve::cli
