// How fast tokens are decoded at a depth.
#pragma once

#include "engine/engine.h"

namespace varve {

struct DecodeSpeedOptions {
  int depth = 0;      // tokens in the cache before
  int n_tokens = 16;  // decoded in one repetition
  int repetitions = 5;
};

/// The median over the repetitions, tokens/s; depth is reached by seeded rows (see
/// Session::fill_seeded). The engine has to have room for depth + n_tokens and one resume point,
/// and no session alive.
Result<double> measure_decode_speed(Engine& engine, const DecodeSpeedOptions& options);

}  // namespace varve
