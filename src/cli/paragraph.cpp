#include "cli/paragraph.h"

#include <fmt/format.h>

namespace varve::cli {
namespace {

constexpr size_t kColumns = 80;

}  // namespace

std::string paragraph_text(std::string_view text, std::string_view indent) {
  const size_t width = kColumns - indent.size();
  std::string lines;
  while (text.size() > width) {
    size_t end = text.rfind(' ', width);
    if (end == std::string_view::npos) end = text.find(' ');  // a word that is longer than a line
    if (end == std::string_view::npos) break;
    lines += fmt::format("{}{}\n", indent, text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  return lines + fmt::format("{}{}", indent, text);
}

void print_paragraph(std::string_view text, std::string_view indent) {
  fmt::print("{}\n", paragraph_text(text, indent));
}

}  // namespace varve::cli
