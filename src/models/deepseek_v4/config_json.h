// The config.json of a DeepSeek-V4 model.
#pragma once

#include <string>

#include "models/deepseek_v4/config.h"

namespace varve::deepseek_v4 {

/// In the official spelling; parse_config() gives `config` back. `has_fp8`: some weights are E4M3,
/// with a scale for each block. What it cannot say is the caller's to refuse: CSA by another ratio
/// than 4, hash-routed layers that are not the first ones.
std::string config_json(const Config& config, bool has_fp8);

}  // namespace varve::deepseek_v4
