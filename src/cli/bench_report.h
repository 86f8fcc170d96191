// What `varve bench` measured, and how it is shown: as a table, as JSON, as a plot.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "kernels/roofs.h"
#include "plan/calibration.h"

namespace varve::cli {

/// Of a figure over the repetitions.
struct Spread {
  double min = 0, median = 0, max = 0;
};
Spread spread(std::vector<double> values);

/// One repetition, and the bandwidth of reading right before and after it, on average.
struct Repetition {
  double tokens_per_s = 0;
  double read_bytes_per_s = 0;
};

struct Measurement {
  std::string what;  // "prefill" or "decode"
  int asked_depth = 0;
  int depth = 0;  // the last one from which the tokens fit, where that is less
  int n_tokens = 0;
  int chunk_tokens = 0;  // read in one step, at most
  std::vector<Repetition> repetitions;
  PartTimes times;  // over all repetitions

  Spread tokens_per_s() const;
  Spread read_bytes_per_s() const;
};

struct BenchReport {
  std::string model_name;
  const Model* model = nullptr;
  EngineOptions options;
  int n_threads = 0;
  std::string fill;
  std::string weights;  // "mapped" or "copied"
  Roofs roofs;
  std::optional<Calibration> calibration;  // where a prediction stands beside each measurement
  double waited_share = 0;                 // see Contention
  std::vector<Measurement> rows;
};

/// Two lines a measurement; with `profile` also its parts beside their roofs.
void print_bench_table(const BenchReport& report, bool profile);
void print_bench_json(const BenchReport& report);

/// An SVG of tokens/s over depth.
std::string bench_plot(const BenchReport& report);

}  // namespace varve::cli
