// Running text in lines of 80 columns.
#pragma once

#include <string>
#include <string_view>

namespace varve::cli {

/// `text` with line ends in place of some spaces; every line begins with `indent`.
std::string paragraph_text(std::string_view text, std::string_view indent = "");

/// Prints it, with a line end behind it.
void print_paragraph(std::string_view text, std::string_view indent = "");

}  // namespace varve::cli
