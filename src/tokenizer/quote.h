// Text of a file, made fit for an error message.
#pragma once

#include <string>
#include <string_view>

namespace varve {

/// `text` in double quotes: bytes that are not printable ASCII or well-formed UTF-8 as \xNN, and
/// cut with "..." after about `max_bytes`.
std::string in_quotes(std::string_view text, size_t max_bytes = 60);

}  // namespace varve
