// Text as it is sampled, held against the strings that end it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace varve::server {

/// Lets text through as soon as it is certain that no stop string begins in it.
class StopStrings {
 public:
  /// None of `stops` is empty.
  explicit StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  /// The text that is certain now. Where a stop string is met, that before it, and nothing after.
  std::string push(std::string_view text);
  /// What was held back: no more text comes.
  std::string finish();

  /// The stop string that was met: of several the one that is complete first, then the longest.
  const std::optional<std::string>& met() const { return met_; }
  /// Bytes that were let through.
  size_t n_released() const { return n_released_; }

 private:
  std::string release(size_t n);
  /// Bytes at the end of held_ that may be the beginning of a stop string.
  size_t bytes_in_doubt() const;

  std::vector<std::string> stops_;
  std::string held_;  // shorter than the longest stop string between calls
  size_t n_released_ = 0;
  std::optional<std::string> met_;
};

}  // namespace varve::server
