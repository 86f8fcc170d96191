// A search for the fastest setting by measuring, within a time: successive halving. Many settings
// are measured with few tokens, then the better half again with more, until two are left; of these
// every change that does not pay is taken back. Settings of a stage are visited in turns, so that
// what else the machine does hits all of them alike, and their lower quartiles are compared. In the
// end the winner meets the start once more, in new measurements: the luck that chose it is no
// merit.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tune/space.h"

namespace varve {

/// One visit of a setting. Seconds are those of one token.
struct Sample {
  double prefill_seconds = 0;
  double decode_seconds = 0;
  PartTimes prefill_parts;
  PartTimes decode_parts;
  size_t peak_bytes = 0;  // measured, of all that the run takes
};

/// What is to be fast.
struct Job {
  int prefill_tokens = 0;
  int decode_tokens = 0;
};

struct Candidate {
  Setting setting;
  std::vector<Sample> samples;  // of the last stage that it took part in
  std::string failure;          // why it is out; empty: it is not

  /// Lower quartiles; infinite without samples.
  double prefill_seconds() const;
  double decode_seconds() const;
  double job_seconds(const Job& job) const;
  size_t peak_bytes() const;
};

/// How far two measurements of the start, of n_samples each, lie apart by chance, relative: 19 of
/// 20 are nearer. By drawing from its samples; never below kLeastNoise, assumed where there are
/// fewer than four.
double noise_of(const Candidate& start, const Job& job, size_t n_samples);
/// Two engines with the same setting decode up to 5 % apart on an idle machine, by where their
/// memory happens to lie (`varve tune` of SmolLM2-135M, chunks of 256 and 512, which decoding does
/// not see).
inline constexpr double kLeastNoise = 0.05;

struct SearchTools {
  /// Measures a setting with more tokens the larger `effort` is, 0 to kMostEffort. An error puts
  /// the setting out of the search.
  std::function<Result<Sample>(const Setting&, int effort)> measure;
  std::function<bool(const Setting&)> fits;  // within memory, by the plan
  std::function<double()> now;               // seconds
  std::function<bool()> interrupted;
  std::function<void(double seconds)> progress;  // since the beginning
};
inline constexpr int kMostEffort = 3;

struct Outcome {
  Candidate start;
  Candidate best;                // the start, where nothing beats it by more than the noise
  double noise = 0;              // relative
  std::vector<Candidate> sweep;  // around the start, in the order of Space::around_start()
  int n_settings = 0;            // measured
  int n_visits = 0;
  bool interrupted = false;
  bool finished = false;  // the budget sufficed for all stages

  bool is_win() const { return best.setting != start.setting; }
};

/// Errors: those of measuring the start.
Result<Outcome> search(const Space& space, const Job& job, double budget_seconds,
                       const SearchTools& tools);

}  // namespace varve
