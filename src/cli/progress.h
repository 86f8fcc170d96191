// A progress bar on stderr with rate and time left. Silent where stderr is not a terminal.
#pragma once

#include <chrono>
#include <string>

namespace varve::cli {

class Progress {
 public:
  /// `unit` is what is counted ("tokens", "MiB").
  Progress(std::string label, double total, std::string unit);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Draws at most ten times a second, and nothing in the first half second: what is over by then
  /// needs no bar.
  void update(double done);
  /// Takes the bar off the screen.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;

  std::string label_;
  double total_;
  std::string unit_;
  bool enabled_;
  bool drawn_ = false;
  Clock::time_point begin_ = Clock::now();
  Clock::time_point last_drawn_ = begin_;
};

}  // namespace varve::cli
