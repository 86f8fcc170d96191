#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/cpu.h"
#include "cli/bench_report.h"
#include "tokenizer/utf8.h"

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

// Text as XML takes it: escaped, without bytes that are not UTF-8 and control characters.
std::string xml(std::string_view text) {
  std::string valid, held, out;
  append_lossy(text, held, valid);
  finish_lossy(held, valid);
  for (const char c : valid) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += kReplacementCharacter;
        } else {
          out += c;
        }
    }
  }
  return out;
}

// 1048064 -> "1M", 32768 -> "32K", 300 -> "300"
std::string depth_label(int depth) {
  if (depth >= 1000 << 10) return fmt::format("{:.3g}M", depth / 1048576.0);
  if (depth >= 1 << 10) return fmt::format("{:.3g}K", depth / 1024.0);
  return fmt::format("{}", depth);
}

// The step of about five ticks from 0 to `most`: 1, 2 or 5 times a power of ten.
double nice_step(double most) {
  const double rough = most / 5;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough) return factor * power;
  }
  return 10 * power;
}

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

  std::string svg;
  const auto text = [&](double at_x, double at_y, std::string_view anchor, std::string_view words,
                        std::string_view more = "") {
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", at_x,
                       at_y, anchor, more, xml(words));
  };
  const auto line = [&](double x1, double y1, double x2, double y2, std::string_view colour) {
    svg += fmt::format(
        "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\"/>\n", x1, y1,
        x2, y2, colour);
  };
  const std::string title = fmt::format("{}: tokens/s over depth", report.model_name);
  svg += fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
      "viewBox=\"0 0 {0:.0f} {1:.0f}\" font-family=\"sans-serif\" font-size=\"12\">\n",
      kWidth, kHeight);
  svg += fmt::format("<title>{}</title>\n", xml(title));
  svg += "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n";
  text(kLeft, 24, "start", title, " font-size=\"15\"");
  text(kLeft, 42, "start",
       fmt::format("{}, {} threads, kernels {}", cpu_name(), report.n_threads,
                   report.options.kernels->name),
       " fill=\"#555\"");

  // Axes, their ticks and names.
  const int n_ticks = static_cast<int>(std::round(top / step));
  for (int i = 0; i <= n_ticks; ++i) {
    line(kLeft, y(i * step), right_x, y(i * step), i == 0 ? "black" : "#ddd");
    text(kLeft - 8, y(i * step) + 4, "end", fmt::format("{:g}", i * step));
  }
  line(kLeft, kTop, kLeft, bottom_y, "black");
  double last_x = -kMinTickGap;
  for (const int depth : depths) {
    const double at = axis.x(depth);
    line(at, bottom_y, at, bottom_y + 5, "black");
    if (at - last_x < kMinTickGap) continue;
    text(at, bottom_y + 20, "middle", depth_label(depth));
    last_x = at;
  }
  text((kLeft + right_x) / 2, kHeight - 16, "middle", "tokens in the cache, log scale");
  text(18, (kTop + bottom_y) / 2, "middle", "tokens/s",
       fmt::format(" transform=\"rotate(-90 18 {:.1f})\"", (kTop + bottom_y) / 2));

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
    std::string path;
    for (const Measurement* m : points) {
      const double at = axis.x(m->depth);
      const Spread speed = m->tokens_per_s();
      path += fmt::format("{}{:.1f},{:.1f}", path.empty() ? "" : " ", at, y(speed.median));
      line(at, y(speed.min), at, y(speed.max), series.colour);
      svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" fill=\"{}\"/>\n", at,
                         y(speed.median), series.colour);
    }
    svg += fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>\n",
                       path, series.colour);
    line(right_x - 150, legend_y - 4, right_x - 126, legend_y - 4, series.colour);
    text(right_x - 120, legend_y, "start",
         fmt::format("{} of {} tokens", series.what, points.front()->n_tokens));
    legend_y += 18;
  }
  return svg + "</svg>\n";
}

}  // namespace varve::cli
