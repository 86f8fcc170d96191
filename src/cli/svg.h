// Plots as SVG text, and what their axes need.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace varve::cli {

/// A picture under construction; lengths are in pixels from the upper left corner.
class Svg {
 public:
  Svg(double width, double height, std::string_view title);

  /// `anchor` is start, middle or end; `attributes` are further ones, each with a space before it.
  void text(double x, double y, std::string_view anchor, std::string_view words,
            std::string_view attributes = "");
  void line(double x1, double y1, double x2, double y2, std::string_view colour);
  void circle(double x, double y, double radius, std::string_view colour);
  void rectangle(double x, double y, double width, double height, std::string_view colour);
  void polyline(const std::vector<std::pair<double, double>>& points, std::string_view colour);
  /// Words along the y axis, around (x, y).
  void upright_text(double x, double y, std::string_view words);

  /// The whole file.
  std::string finished() const { return body_ + "</svg>\n"; }

 private:
  std::string body_;
};

/// The step of about five ticks from 0 to `most`: 1, 2 or 5 times a power of ten.
double nice_step(double most);

/// 1048064 -> "1M", 32768 -> "32K", 300 -> "300": numbers of tokens.
std::string tokens_label(int n_tokens);

}  // namespace varve::cli
