#include "cli/needle_map.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

#include "cli/svg.h"

namespace varve::cli {
namespace {

struct Colour {
  int terminal;           // of the 256 colours that terminals agree on
  std::string_view html;  // the same
};

// From nothing right to all right.
constexpr std::array<Colour, 6> kRamp = {{{160, "#d70000"},
                                          {202, "#ff5f00"},
                                          {214, "#ffaf00"},
                                          {220, "#ffd700"},
                                          {148, "#afd700"},
                                          {34, "#00af00"}}};

const Colour& colour_of(double share) {
  return kRamp[static_cast<size_t>(std::lround(share * (kRamp.size() - 1)))];
}

const NeedleCell& cell_at(std::span<const NeedleCell> cells, const NeedleOptions& options,
                          size_t length, size_t depth) {
  return cells[length * options.depths_percent.size() + depth];
}

}  // namespace

std::string needle_table(std::span<const NeedleCell> cells, const NeedleOptions& options,
                         bool in_colour) {
  constexpr int kLabelWidth = 8;
  constexpr size_t kLine = 80;
  const size_t n_lengths = options.lengths.size();
  const size_t width = std::min<size_t>(7, (kLine - kLabelWidth) / n_lengths);
  std::string out = fmt::format("{:<{}}", "depth", kLabelWidth);
  for (const int length : options.lengths) {
    out += fmt::format("{:>{}}", tokens_label(length), width);
  }
  out += '\n';
  for (size_t d = 0; d < options.depths_percent.size(); ++d) {
    out += fmt::format("{:>5} % ", options.depths_percent[d]);
    for (size_t l = 0; l < n_lengths; ++l) {
      const double right = cell_at(cells, options, l, d).right.mean;
      const std::string text = fmt::format("{:>{}.0f}", 100 * right, width);
      out += in_colour
                 ? fmt::format("\x1b[48;5;{}m\x1b[30m{}\x1b[0m", colour_of(right).terminal, text)
                 : text;
    }
    out += '\n';
  }
  return out + "percent of answers right, by depth of the fact and tokens of the document\n";
}

std::string needle_svg(std::span<const NeedleCell> cells, const NeedleOptions& options,
                       const std::string& title) {
  constexpr double kLeft = 80, kTop = 72, kRight = 30, kBottom = 60;
  constexpr double kCellWidth = 56, kCellHeight = 26;
  const auto n_lengths = static_cast<double>(options.lengths.size());
  const auto n_depths = static_cast<double>(options.depths_percent.size());
  const double right_x = kLeft + n_lengths * kCellWidth, bottom_y = kTop + n_depths * kCellHeight;
  const double width = std::max(480.0, right_x + kRight);
  Svg svg(width, bottom_y + kBottom, title);
  svg.text(20, 24, "start", title, " font-size=\"15\"");
  svg.text(20, 42, "start", "percent of answers right", " fill=\"#555\"");
  for (size_t l = 0; l < options.lengths.size(); ++l) {
    const double x = kLeft + static_cast<double>(l) * kCellWidth;
    svg.text(x + kCellWidth / 2, bottom_y + 20, "middle", tokens_label(options.lengths[l]));
    for (size_t d = 0; d < options.depths_percent.size(); ++d) {
      const double y = kTop + static_cast<double>(d) * kCellHeight;
      const double share = cell_at(cells, options, l, d).right.mean;
      svg.rectangle(x, y, kCellWidth - 1, kCellHeight - 1, colour_of(share).html);
      svg.text(x + kCellWidth / 2, y + kCellHeight / 2 + 4, "middle",
               fmt::format("{:.0f}", 100 * share));
    }
  }
  for (size_t d = 0; d < options.depths_percent.size(); ++d) {
    svg.text(kLeft - 8, kTop + (static_cast<double>(d) + 0.5) * kCellHeight + 4, "end",
             fmt::format("{} %", options.depths_percent[d]));
  }
  svg.text((kLeft + right_x) / 2, bottom_y + 42, "middle", "tokens of the document");
  svg.text(kLeft - 8, kTop - 8, "end", "depth");
  return svg.finished();
}

}  // namespace varve::cli
