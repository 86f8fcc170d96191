// Whether a measurement was disturbed: how long this process's threads waited for a core that
// something else had.
#pragma once

#include <map>

namespace varve {

class Contention {
 public:
  /// Looks on from now on.
  Contention();

  /// Of the time since then in which threads of this process wanted to run, the share in which
  /// something else had their cores. Threads that have ended meanwhile do not count. 0 where the
  /// system does not say (it needs Linux's /proc/self/task/*/schedstat).
  double waited_share() const;

 private:
  struct Times {
    double ran = 0, waited = 0;  // ns
  };
  static std::map<int, Times> times_of_threads();

  std::map<int, Times> before_;  // by thread id
};

/// Figures that were measured while more than this was waited are not to be relied upon.
inline constexpr double kMostWaitedShare = 0.05;

}  // namespace varve
