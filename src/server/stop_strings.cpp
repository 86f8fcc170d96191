#include "server/stop_strings.h"

#include <algorithm>

namespace varve::server {

std::string StopStrings::release(size_t n) {
  std::string text = held_.substr(0, n);
  held_.erase(0, n);
  n_released_ += text.size();
  return text;
}

size_t StopStrings::bytes_in_doubt() const {
  size_t most = 0;
  for (const std::string& stop : stops_) {
    for (size_t n = std::min(held_.size(), stop.size() - 1); n > most; --n) {
      if (std::string_view(held_).ends_with(std::string_view(stop).substr(0, n))) most = n;
    }
  }
  return most;
}

std::string StopStrings::push(std::string_view text) {
  if (met_) return {};
  held_ += text;
  size_t begin = 0;
  size_t end = std::string::npos;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at == std::string::npos || at + stop.size() > end) continue;
    if (at + stop.size() == end && at >= begin) continue;
    begin = at;
    end = at + stop.size();
    met_ = stop;
  }
  if (!met_) return release(held_.size() - bytes_in_doubt());
  std::string before = release(begin);
  held_.clear();
  return before;
}

std::string StopStrings::finish() {
  return release(held_.size());
}

}  // namespace varve::server
