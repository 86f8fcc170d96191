// Counts and times of a server, and their text in the exposition format that Prometheus reads.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace varve::server {

/// How often a time lay at or below each bound.
class Histogram {
 public:
  void observe(double seconds);

  static constexpr std::array kBounds = {0.001, 0.003, 0.01, 0.03, 0.1,   0.3,
                                         1.0,   3.0,   10.0, 30.0, 100.0, 300.0};  // seconds
  /// Of kBounds, and behind them all that was larger; not summed up.
  std::array<uint64_t, kBounds.size() + 1> counts = {};
  double sum_seconds = 0;
};

/// What the engine's thread has done, and what it is at.
struct LoopStats {
  uint64_t n_prompt_tokens = 0;    // of admitted requests
  uint64_t n_cached_tokens = 0;    // of them, that their session knew
  uint64_t n_restored_tokens = 0;  // of prompts, whose blocks came from the store
  uint64_t n_read_tokens = 0;      // by steps: prompts and what was sampled
  uint64_t n_sampled_tokens = 0;
  uint64_t n_steps = 0;

  uint64_t n_ended = 0;      // requests, by how they ended: an end token or a stop string
  uint64_t n_cut = 0;        // at their length
  uint64_t n_cancelled = 0;  // given up by those who asked
  uint64_t n_failed = 0;
  uint64_t n_refused = 0;  // the queue was full

  int n_waiting = 0;
  int n_running = 0;
  int n_kept = 0;             // sessions that are over and written down
  int64_t n_kept_tokens = 0;  // in them

  Histogram wait_seconds;         // in the queue
  Histogram first_token_seconds;  // from submission to the first token
  Histogram token_seconds;        // from one token to the next
  Histogram total_seconds;        // from submission to the end
};

/// Metrics as text, one after the other.
class MetricsText {
 public:
  /// `kind` is "counter", "gauge" or "histogram".
  void begin(std::string_view name, std::string_view kind, std::string_view help);
  /// A value of the metric that was begun last. `labels`: `pool="csa"`, or empty.
  void value(double value, std::string_view labels = {});
  void values(const Histogram& histogram);
  /// begin() and value().
  void counter(std::string_view name, uint64_t value, std::string_view help);
  void gauge(std::string_view name, double value, std::string_view help);

  std::string text() && { return std::move(text_); }

 private:
  std::string text_;
  std::string name_;
};

/// All of LoopStats.
void write_stats(const LoopStats& stats, MetricsText& out);

}  // namespace varve::server
