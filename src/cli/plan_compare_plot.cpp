#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "cli/plan_compare.h"
#include "cli/svg.h"

namespace varve::cli {
namespace {

// In pixels: two panels side by side, the legend in rows below them.
constexpr double kPanelWidth = 380, kPanelHeight = 320;
constexpr double kLeft = 70, kBetween = 80, kRight = 20, kTop = 60;
constexpr double kAxisHeight = 50, kLegendLine = 18, kLegendColumn = 210;
constexpr double kWidth = kLeft + kPanelWidth + kBetween + kPanelWidth + kRight;
constexpr size_t kLegendColumns = 4;

constexpr int kLowLog2 = 12, kHighLog2 = 20;  // contexts of 4K to 1M tokens

// The model's own is the first, DeepSeek-V3.2 the last.
constexpr std::array<std::string_view, 7> kColours = {"#c8553d", "#9a9a9a", "#8d6cab", "#3d8b6e",
                                                      "#d9a441", "#1b6ca8", "#000000"};

// A figure over the context, both on log scales.
class Panel {
 public:
  using Figure = std::function<double(const ComparedAttention&, int ctx_tokens)>;

  Panel(double left, const PlanComparison& comparison, Figure figure)
      : left_(left), comparison_(comparison), figure_(std::move(figure)) {
    double least = HUGE_VAL, most = 0;
    for (const ComparedAttention& row : comparison.rows) {
      for (const int log2 : {kLowLog2, kHighLog2}) {
        const double value = figure_(row, 1 << log2);
        if (value > 0) least = std::min(least, value);
        most = std::max(most, value);
      }
    }
    low_ = static_cast<int>(std::floor(std::log10(least)));
    high_ = static_cast<int>(std::ceil(std::log10(most)));
  }

  void draw(Svg& svg, std::string_view name) const {
    const double bottom = kTop + kPanelHeight, right = left_ + kPanelWidth;
    for (int decade = low_; decade <= high_; ++decade) {
      const double at = y(std::pow(10, decade));
      svg.line(left_, at, right, at, decade == low_ ? "black" : "#ddd");
      svg.text(left_ - 8, at + 4, "end", fmt::format("{:g}", std::pow(10, decade)));
    }
    svg.line(left_, kTop, left_, bottom, "black");
    for (int log2 = kLowLog2; log2 <= kHighLog2; log2 += 2) {
      svg.line(x(log2), bottom, x(log2), bottom + 5, "black");
      svg.text(x(log2), bottom + 20, "middle", tokens_label(1 << log2));
    }
    svg.text(left_ + kPanelWidth / 2, bottom + 40, "middle", "tokens of context");
    svg.upright_text(left_ - 50, kTop + kPanelHeight / 2, name);
    // The model's own last, over one that it coincides with.
    for (size_t i = comparison_.rows.size(); i-- > 0;) {
      std::vector<std::pair<double, double>> path;
      for (int log2 = kLowLog2; log2 <= kHighLog2; ++log2) {
        path.emplace_back(x(log2), y(figure_(comparison_.rows[i], 1 << log2)));
      }
      svg.polyline(path, kColours[i % kColours.size()]);
    }
  }

 private:
  double x(int log2) const {
    return left_ + kPanelWidth * (log2 - kLowLog2) / (kHighLog2 - kLowLog2);
  }
  double y(double value) const {
    const double decade = std::clamp<double>(std::log10(value), low_, high_);
    return kTop + kPanelHeight * (high_ - decade) / (high_ - low_);
  }

  double left_;
  const PlanComparison& comparison_;
  Figure figure_;
  int low_ = 0, high_ = 1;  // decades
};

void draw_legend(Svg& svg, const PlanComparison& comparison, double top) {
  for (size_t i = 0; i < comparison.rows.size(); ++i) {
    const size_t line = i / kLegendColumns, column = i % kLegendColumns;
    const double x = kLeft + kLegendColumn * static_cast<double>(column);
    const double y = top + kLegendLine * static_cast<double>(line);
    svg.line(x, y - 4, x + 24, y - 4, kColours[i % kColours.size()]);
    svg.text(x + 30, y, "start", comparison.rows[i].attention.text);
  }
}

}  // namespace

std::string compare_plot(const PlanComparison& comparison) {
  const size_t n_lines = (comparison.rows.size() + kLegendColumns - 1) / kLegendColumns;
  const double legend_top = kTop + kPanelHeight + kAxisHeight + kLegendLine;
  const std::string title =
      fmt::format("{}: kinds of attention in its place", comparison.model_name);
  Svg svg(kWidth, legend_top + kLegendLine * static_cast<double>(n_lines), title);
  svg.text(kLeft, 24, "start", title, " font-size=\"15\"");
  svg.text(
      kLeft, 42, "start",
      fmt::format("by formula; FLOPs as of FP8: weights x{}, FP8 index x{}, FP4 index x{}, bf16 "
                  "attention x{}",
                  kWeightsCount, kFp8IndexCount, kFp4IndexCount, kBf16AttentionCount),
      " fill=\"#555\"");
  Panel(kLeft, comparison, [](const ComparedAttention& row, int ctx_tokens) {
    return row.attention.cache_bytes(ctx_tokens) / (1 << 30);
  }).draw(svg, "cache of a sequence, GiB");
  Panel(kLeft + kPanelWidth + kBetween, comparison,
        [](const ComparedAttention& row, int ctx_tokens) {
          return row.attention.decode_flops(row.active_params, ctx_tokens).fp8_equivalent / 1e9;
        })
      .draw(svg, "GFLOPs to decode a token, weighted");
  draw_legend(svg, comparison, legend_top);
  return svg.finished();
}

}  // namespace varve::cli
