// Python's strings and how Python spells numbers and strings, on well-formed UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace varve::jinja {

size_t n_characters(std::string_view text);
/// Where character n begins; the end of the text where there is none.
size_t byte_of_character(std::string_view text, size_t n);
/// Views of the characters of `text`, one for each code point.
std::vector<std::string_view> characters(std::string_view text);

enum class Side { left, right, both };
/// str.strip and its kin: takes off white space, or the characters of `chars`.
std::string_view strip(std::string_view text, std::optional<std::string_view> chars, Side side);
/// As `\s` and str.isspace().
bool is_space(uint32_t code_point);

/// Where `part` begins in `text` at or after `from`; npos where it does not. In linear time.
size_t find_text(std::string_view text, std::string_view part, size_t from = 0);

// Of letters beyond ASCII only those without case are taken: an error names the others.
Result<std::string> upper(std::string_view text);
Result<std::string> lower(std::string_view text);
Result<std::string> capitalize(std::string_view text);
/// str.title(): each run of letters begins with a capital.
Result<std::string> title(std::string_view text);
/// The filter `title`: a word begins after white space, - ( { [ or <.
Result<std::string> title_words(std::string_view text);

/// repr() of a string and of a float.
std::string text_repr(std::string_view text);
std::string float_repr(double value);

}  // namespace varve::jinja
