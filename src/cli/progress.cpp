#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace varve::cli {
namespace {

constexpr int kBarWidth = 24;

std::string duration(double seconds) {
  const auto whole = static_cast<long>(seconds + 0.5);
  if (whole < 60) return fmt::format("{}s", whole);
  if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  return fmt::format("{}h{:02}m", whole / 3600, whole / 60 % 60);
}

}  // namespace

Progress::Progress(std::string label, double total, std::string unit)
    : label_(std::move(label)),
      total_(total),
      unit_(std::move(unit)),
      enabled_(isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  finish();
}

void Progress::update(double done) {
  using namespace std::chrono_literals;
  const auto now = Clock::now();
  if (!enabled_ || now - begin_ < 500ms || now - last_drawn_ < 100ms) return;
  last_drawn_ = now;
  const double seconds = std::chrono::duration<double>(now - begin_).count();
  const double rate = done / seconds;
  const double share = total_ > 0 ? std::min(1.0, done / total_) : 0;
  const int filled = static_cast<int>(share * kBarWidth);
  const std::string left = rate > 0 ? duration((total_ - done) / rate) : "?";
  const std::string line = fmt::format("\r{} [{}{}] {:3.0f}% {:.0f} {}/s, {} left\x1b[K", label_,
                                       std::string(static_cast<size_t>(filled), '#'),
                                       std::string(static_cast<size_t>(kBarWidth - filled), '.'),
                                       share * 100, rate, unit_, left);
  std::fputs(line.c_str(), stderr);
  std::fflush(stderr);
  drawn_ = true;
}

void Progress::finish() {
  if (drawn_) {
    std::fputs("\r\x1b[K", stderr);
    std::fflush(stderr);
  }
  drawn_ = false;
}

}  // namespace varve::cli
