#include "cli/svg.h"

#include <fmt/format.h>

#include <cmath>

#include "base/markup.h"
#include "tokenizer/utf8.h"

namespace varve::cli {
namespace {

// Text as XML takes it: escaped, without bytes that are not UTF-8 and control characters.
std::string xml(std::string_view text) {
  std::string valid, held, shown;
  append_lossy(text, held, valid);
  finish_lossy(held, valid);
  for (const char c : valid) {
    if (static_cast<unsigned char>(c) < 0x20) {
      shown += kReplacementCharacter;
    } else {
      shown += c;
    }
  }
  return escape_markup(shown);
}

}  // namespace

Svg::Svg(double width, double height, std::string_view title) {
  body_ = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
      "viewBox=\"0 0 {0:.0f} {1:.0f}\" font-family=\"sans-serif\" font-size=\"12\">\n",
      width, height);
  body_ += fmt::format("<title>{}</title>\n", xml(title));
  body_ += "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n";
}

void Svg::text(double x, double y, std::string_view anchor, std::string_view words,
               std::string_view attributes) {
  body_ += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y,
                       anchor, attributes, xml(words));
}

void Svg::upright_text(double x, double y, std::string_view words) {
  text(x, y, "middle", words, fmt::format(" transform=\"rotate(-90 {:.0f} {:.1f})\"", x, y));
}

void Svg::line(double x1, double y1, double x2, double y2, std::string_view colour) {
  body_ +=
      fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\"/>\n",
                  x1, y1, x2, y2, colour);
}

void Svg::circle(double x, double y, double radius, std::string_view colour) {
  body_ += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\" fill=\"{}\"/>\n", x, y, radius,
                       colour);
}

void Svg::rectangle(double x, double y, double width, double height, std::string_view colour) {
  body_ += fmt::format(
      "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\"/>\n", x, y,
      width, height, colour);
}

void Svg::polyline(const std::vector<std::pair<double, double>>& points, std::string_view colour) {
  std::string path;
  for (const auto& [x, y] : points) {
    path += fmt::format("{}{:.1f},{:.1f}", path.empty() ? "" : " ", x, y);
  }
  body_ += fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>\n",
                       path, colour);
}

double nice_step(double most) {
  const double rough = most / 5;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough) return factor * power;
  }
  return 10 * power;
}

std::string tokens_label(int n_tokens) {
  if (n_tokens >= 1000 << 10) return fmt::format("{:.3g}M", n_tokens / 1048576.0);
  if (n_tokens >= 1 << 10) return fmt::format("{:.3g}K", n_tokens / 1024.0);
  return fmt::format("{}", n_tokens);
}

}  // namespace varve::cli
