// What the measurements of a search say about what binds a run.
#pragma once

#include <string_view>
#include <vector>

#include "plan/time_profile.h"
#include "tune/search.h"

namespace varve {

/// One level of a knob with all others at the start.
struct SweepPoint {
  int value = 0;  // threads, or tokens of a chunk
  double prefill_tokens_per_s = 0;
  double decode_tokens_per_s = 0;
};

/// The measured levels of threads or chunks, ascending.
std::vector<SweepPoint> sweep_of(const Space& space, const Outcome& outcome, Knob knob);

/// How a rate goes on where the knob is turned up.
enum class Trend {
  unknown,  // fewer than two levels
  scales,   // of what twice the threads could bring, half or more comes
  flattens,
  falls,
};

/// Of threads: from the largest level that is at most half of the last one, to the last one.
struct ThreadTrend {
  int from = 0, to = 0;  // threads
  double prefill_gain = 1, decode_gain = 1;
  Trend prefill = Trend::unknown, decode = Trend::unknown;
};
ThreadTrend thread_trend(const std::vector<SweepPoint>& threads);

/// Of chunks, prefill's: from the smallest to the best, and the smallest that comes within 5 % of
/// it.
struct ChunkTrend {
  int smallest = 0, best = 0, enough = 0;  // tokens; 0: fewer than two levels
  double smallest_tokens_per_s = 0, best_tokens_per_s = 0;

  /// Short chunks leave arithmetic under-filled.
  bool climbs() const { return best_tokens_per_s > 1.25 * smallest_tokens_per_s; }
};
ChunkTrend chunk_trend(const std::vector<SweepPoint>& chunks);

/// The group of parts that takes longest, and its roof.
struct Bound {
  std::string_view group;    // "weights", "attention", ...
  double share_of_time = 0;  // of all groups
  std::string_view roof;     // "read bandwidth", "bf16 dot", ...; empty: it has none
  double share_of_roof = 0;  // that is reached
};
Bound bound_of(const std::vector<GroupTime>& groups);

struct Bounds {
  Bound prefill, decode;
};
/// Of a candidate with samples, by its typical ones.
Bounds bounds_of(const Candidate& candidate, const Model& model, const EngineOptions& options,
                 const Roofs& roofs, const Job& job, int depth);

}  // namespace varve
