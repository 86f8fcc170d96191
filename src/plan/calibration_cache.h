// Calibrations that were made before, kept in one file of the user's: a plan need not measure the
// same machine twice.
#pragma once

#include <string>
#include <vector>

#include "plan/calibration.h"

namespace varve {

/// What a calibration depends on: processor, threads, kernels, matrices, attention, row formats.
std::string calibration_key(const Model& shapes, const EngineOptions& options);

class CalibrationCache {
 public:
  /// $XDG_CACHE_HOME/varve, or ~/.cache/varve; without either nothing is kept.
  static std::string default_directory();

  /// `directory` need not exist; "": nothing is kept. A file that cannot be read counts as empty.
  explicit CalibrationCache(std::string directory);

  /// Null where there is none of that key. `age_days`: since it was made.
  const Calibration* find(const std::string& key, double* age_days = nullptr) const;
  /// Keeps it, also for other processes. What cannot be written is kept for this one.
  void insert(const std::string& key, const Calibration& calibration);

  /// "" where nothing is kept.
  const std::string& file() const { return file_; }

 private:
  struct Entry {
    std::string key;
    double made = 0;  // seconds since 1970
    Calibration calibration;
  };

  std::string file_;
  std::vector<Entry> entries_;
};

}  // namespace varve
