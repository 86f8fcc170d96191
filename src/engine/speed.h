// Timing what sessions read from where they stand: what every measurement of speed is made with.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace varve {

/// n seeded ids of the vocabulary.
std::vector<int32_t> random_ids(int n, int vocab_size, uint64_t seed);

/// How a depth is reached: by seeded random rows (Session::fill_seeded), or by reading tokens.
enum class Fill { seeded, prefill };

/// Brings an empty session to so many tokens, to which it can be rewound from then on at no cost.
/// The engine needs room for one resume point of it. Errors: as of Session::append().
Result<void> reach_depth(Session& session, int vocab_size, int depth, Fill fill);

struct Timing {
  double seconds = 0;
  PartTimes parts;  // of those seconds, by the engine's own clocks
};

/// Each session reads the ids, in steps of the engine's chunk over all of them together, and goes
/// back to where it stood, outside the clock. Errors: as of Session::enqueue().
Result<Timing> time_prefill(Engine& engine, std::span<Session> sessions,
                            std::span<const int32_t> ids);
/// The same with one id of each session in a step.
Result<Timing> time_decode(Engine& engine, std::span<Session> sessions,
                           std::span<const int32_t> ids);

/// Of times of the same work, the one that is near the best: what else the machine does meanwhile
/// is no part of it. `values` must not be empty.
double lower_quartile(std::vector<double> values);

}  // namespace varve
