#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/cpu.h"
#include "cli/bench_report.h"
#include "cli/svg.h"

namespace varve::cli {
namespace {

// In pixels; the plot's own area lies inside the margins.
constexpr double kWidth = 720, kHeight = 440;
constexpr double kLeft = 70, kRight = 30, kTop = 60, kBottom = 60;
constexpr double kZeroGap = 0.12;  // of the width: depth 0 stands apart, for it has no logarithm
constexpr double kMinTickGap = 44;

struct Series {
  std::string_view what, colour;
};
constexpr Series kSeries[] = {{"prefill", "#1b6ca8"}, {"decode", "#c8553d"}};

class DepthAxis {
 public:
  explicit DepthAxis(const std::set<int>& depths) {
    has_zero_ = *depths.begin() == 0;
    const auto first = depths.upper_bound(0);
    if (first == depths.end()) return;
    low_ = *first;
    high_ = *depths.rbegin();
  }
  double x(int depth) const {
    const double width = kWidth - kLeft - kRight;
    if (depth == 0) return kLeft + kZeroGap / 2 * width;
    const double from = has_zero_ ? 2 * kZeroGap : kZeroGap / 2;
    const double to = 1 - kZeroGap / 2;
    const double at = low_ == high_ ? 0.5 : std::log(depth / low_) / std::log(high_ / low_);
    return kLeft + (from + at * (to - from)) * width;
  }

 private:
  bool has_zero_ = false;
  double low_ = 1, high_ = 1;
};

}  // namespace

std::string bench_plot(const BenchReport& report) {
  std::set<int> depths;
  double most = 0;
  for (const Measurement& m : report.rows) {
    depths.insert(m.depth);
    most = std::max(most, m.tokens_per_s().max);
  }
  const DepthAxis axis(depths);
  const double step = nice_step(most);
  const double top = std::ceil(most / step) * step;
  const double bottom_y = kHeight - kBottom, right_x = kWidth - kRight;
  const auto y = [&](double rate) { return bottom_y - rate / top * (bottom_y - kTop); };

  const std::string title = fmt::format("{}: tokens/s over depth", report.model_name);
  Svg svg(kWidth, kHeight, title);
  svg.text(kLeft, 24, "start", title, " font-size=\"15\"");
  svg.text(kLeft, 42, "start",
           fmt::format("{}, {} threads, kernels {}", cpu_name(), report.n_threads,
                       report.options.kernels->name),
           " fill=\"#555\"");

  // Axes, their ticks and names.
  const int n_ticks = static_cast<int>(std::round(top / step));
  for (int i = 0; i <= n_ticks; ++i) {
    svg.line(kLeft, y(i * step), right_x, y(i * step), i == 0 ? "black" : "#ddd");
    svg.text(kLeft - 8, y(i * step) + 4, "end", fmt::format("{:g}", i * step));
  }
  svg.line(kLeft, kTop, kLeft, bottom_y, "black");
  double last_x = -kMinTickGap;
  for (const int depth : depths) {
    const double at = axis.x(depth);
    svg.line(at, bottom_y, at, bottom_y + 5, "black");
    if (at - last_x < kMinTickGap) continue;
    svg.text(at, bottom_y + 20, "middle", tokens_label(depth));
    last_x = at;
  }
  svg.text((kLeft + right_x) / 2, kHeight - 16, "middle", "tokens in the cache, log scale");
  svg.upright_text(18, (kTop + bottom_y) / 2, "tokens/s");

  // Medians joined, the spread as a bar, one entry of the legend each.
  double legend_y = 24;
  for (const Series& series : kSeries) {
    std::vector<const Measurement*> points;
    for (const Measurement& m : report.rows) {
      if (m.what == series.what) points.push_back(&m);
    }
    if (points.empty()) continue;
    std::sort(points.begin(), points.end(),
              [](const Measurement* a, const Measurement* b) { return a->depth < b->depth; });
    std::vector<std::pair<double, double>> path;
    for (const Measurement* m : points) {
      const double at = axis.x(m->depth);
      const Spread speed = m->tokens_per_s();
      path.emplace_back(at, y(speed.median));
      svg.line(at, y(speed.min), at, y(speed.max), series.colour);
      svg.circle(at, y(speed.median), 3.5, series.colour);
    }
    svg.polyline(path, series.colour);
    svg.line(right_x - 150, legend_y - 4, right_x - 126, legend_y - 4, series.colour);
    svg.text(right_x - 120, legend_y, "start",
             fmt::format("{} of {} tokens", series.what, points.front()->n_tokens));
    legend_y += 18;
  }
  return svg.finished();
}

}  // namespace varve::cli
