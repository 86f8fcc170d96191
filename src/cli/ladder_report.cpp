#include "cli/ladder_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cli/eval_setup.h"
#include "cli/svg.h"

namespace varve::cli {
namespace {

std::string needle_text(const LadderReport& report, const LadderRung& rung) {
  return report.has_needles ? fmt::format("{:.0f} %", 100 * rung.needle_right.mean) : "-";
}

std::string columns_note(const LadderReport& report) {
  return fmt::format("Bytes at {} tokens; KLD in nats against {}; tok/s: decoded at depth {}",
                     report.ctx_tokens, report.reference, report.decode_depth);
}

}  // namespace

std::string ladder_table(const LadderReport& report) {
  std::string out = fmt::format("  {:<24} {:>9} {:>8} {:>8} {:>8} {:>6} {:>7}\n", "--kv", "B/token",
                                "mean KLD", "99 % KLD", "same top", "needle", "tok/s");
  for (const LadderRung& rung : report.rungs) {
    out += fmt::format("{} {:<24} {:>9.2f} {:>8.2e} {:>8.2e} {:>6.2f} % {:>6} {:>7.1f}\n",
                       rung.is_on_front ? '*' : ' ', rung.kv, rung.bytes_per_token,
                       rung.divergence.kld.mean, rung.divergence.p99,
                       100 * rung.divergence.same_top.mean, needle_text(report, rung),
                       rung.decode_tokens_per_s);
  }
  return out + "* no other takes fewer bytes and diverges less\n" + columns_note(report) + "\n" +
         report.setting + "; " + report.text + "\n";
}

std::string ladder_markdown(const LadderReport& report) {
  std::string out = fmt::format(
      "| {}: `--kv` | B/token | mean KLD | 99 % KLD | same top-1 | needle "
      "| tokens/s |\n|---|---:|---:|---:|---:|---:|---:|\n",
      report.model_name);
  for (const LadderRung& rung : report.rungs) {
    const std::string_view bold = rung.is_on_front ? "**" : "";
    const DivergenceSummary& d = rung.divergence;
    out += fmt::format(
        "| {}`{}`{} | {:.2f} | {:.2e} +- {:.0e} | {:.2e} | {:.2f} % +- {:.2f} | {} | {:.1f} |\n",
        bold, rung.kv, bold, rung.bytes_per_token, d.kld.mean, d.kld.error, d.p99,
        100 * d.same_top.mean, 100 * d.same_top.error, needle_text(report, rung),
        rung.decode_tokens_per_s);
  }
  return out + fmt::format("\nBold: no other takes fewer bytes and diverges less. {}. {}; {}.\n",
                           columns_note(report), report.setting, report.text);
}

nlohmann::ordered_json ladder_array(const LadderReport& report) {
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const LadderRung& rung : report.rungs) {
    nlohmann::ordered_json one = {{"kv", rung.kv},
                                  {"bytes_per_token", rung.bytes_per_token},
                                  {"on_front", rung.is_on_front},
                                  {"decode_tokens_per_s", rung.decode_tokens_per_s}};
    if (report.has_needles) {
      one["needle_right"] = estimate_object(rung.needle_right);
      one["needle_probability"] = estimate_object(rung.needle_probability);
    }
    one.update(divergence_object(rung.divergence));
    out.push_back(one);
  }
  return out;
}

namespace {

// In pixels; the plot's own area lies inside the margins.
constexpr double kWidth = 720, kHeight = 440;
constexpr double kLeft = 80, kRight = 40, kTop = 60, kBottom = 60;
constexpr std::string_view kFrontColour = "#c8553d", kOtherColour = "#9aa5b1";

// Names of points, each as near to its point as those before it leave room.
class Labels {
 public:
  explicit Labels(Svg& svg) : svg_(svg) {}

  void add(double x, double y, std::string_view words) {
    const double width = kLetterWidth * static_cast<double>(words.size());
    const bool to_the_left = x + kGap + width > kWidth;
    const double left = to_the_left ? x - kGap - width : x + kGap;
    for (int away = 0; away < kMostAway; ++away) {
      const int lines = (away + 1) / 2;
      const double base = y - kGap + (away % 2 == 0 ? -lines : lines) * kLineHeight;
      const bool is_taken = std::any_of(boxes_.begin(), boxes_.end(), [&](const Box& box) {
        return std::abs(box.base - base) < kLineHeight && left < box.right &&
               box.left < left + width;
      });
      if (is_taken && away + 1 < kMostAway) continue;
      boxes_.push_back({left, left + width, base});
      svg_.text(to_the_left ? x - kGap : left, base, to_the_left ? "end" : "start", words,
                " font-size=\"10\"");
      return;
    }
  }

 private:
  static constexpr double kGap = 6, kLineHeight = 11, kLetterWidth = 6;
  static constexpr int kMostAway = 12;  // lines, up and down in turn

  struct Box {
    double left, right, base;
  };
  Svg& svg_;
  std::vector<Box> boxes_;
};

// Where rungs stand. A divergence that has no logarithm, 0, stands on the lowest decade.
class LadderAxes {
 public:
  explicit LadderAxes(std::span<const LadderRung> rungs) {
    double least = HUGE_VAL, most = 0;
    for (const LadderRung& rung : rungs) {
      most_bytes_ = std::max(most_bytes_, rung.bytes_per_token);
      const double kld = rung.divergence.kld.mean;
      if (kld <= 0 || !std::isfinite(kld)) continue;
      least = std::min(least, kld);
      most = std::max(most, kld);
    }
    if (most > 0) {
      low_ = std::floor(std::log10(least)) - 1;
      high_ = std::floor(std::log10(most)) + 1;
    }
    step_ = nice_step(most_bytes_);
    right_ = std::ceil(most_bytes_ / step_) * step_;
  }
  double x(double bytes) const { return kLeft + bytes / right_ * (kWidth - kLeft - kRight); }
  double y(double kld) const { return y_of_decade(std::clamp(std::log10(kld), low_, high_)); }
  double y_of_decade(double decade) const {
    return kHeight - kBottom - (decade - low_) / (high_ - low_) * (kHeight - kBottom - kTop);
  }
  double step() const { return step_; }
  double right() const { return right_; }
  int low() const { return static_cast<int>(low_); }
  int high() const { return static_cast<int>(high_); }

 private:
  double most_bytes_ = 1, step_ = 1, right_ = 1;
  double low_ = -6, high_ = 0;  // decades
};

void draw_axes(Svg& svg, const LadderAxes& axes, const LadderReport& report) {
  const double bottom_y = kHeight - kBottom, right_x = kWidth - kRight;
  for (int decade = axes.low(); decade <= axes.high(); ++decade) {
    const double y = axes.y_of_decade(decade);
    svg.line(kLeft, y, right_x, y, decade == axes.low() ? "black" : "#ddd");
    svg.text(kLeft - 8, y + 4, "end", fmt::format("1e{}", decade));
  }
  svg.line(kLeft, kTop, kLeft, bottom_y, "black");
  for (int i = 0; i * axes.step() <= axes.right(); ++i) {
    const double x = axes.x(i * axes.step());
    svg.line(x, bottom_y, x, bottom_y + 5, "black");
    svg.text(x, bottom_y + 20, "middle", fmt::format("{:g}", i * axes.step()));
  }
  svg.text((kLeft + right_x) / 2, kHeight - 16, "middle",
           fmt::format("cache bytes a token, at {} tokens", report.ctx_tokens));
  svg.upright_text(18, (kTop + bottom_y) / 2,
                   fmt::format("mean KLD against {}, nats", report.reference));
}

}  // namespace

std::string ladder_svg(const LadderReport& report) {
  const std::string title = fmt::format("{}: what cache formats cost", report.model_name);
  Svg svg(kWidth, kHeight, title);
  svg.text(kLeft, 24, "start", title, " font-size=\"15\"");
  svg.text(kLeft, 42, "start", report.setting, " fill=\"#555\"");
  const LadderAxes axes(report.rungs);
  draw_axes(svg, axes, report);
  Labels labels(svg);
  std::vector<std::pair<double, double>> front;
  for (const LadderRung& rung : report.rungs) {
    const double x = axes.x(rung.bytes_per_token), y = axes.y(rung.divergence.kld.mean);
    if (!rung.is_on_front) {
      svg.circle(x, y, 3, kOtherColour);
      continue;
    }
    front.emplace_back(x, y);
    svg.circle(x, y, 4, kFrontColour);
    labels.add(x, y, rung.kv);
  }
  svg.polyline(front, kFrontColour);
  return svg.finished();
}

}  // namespace varve::cli
