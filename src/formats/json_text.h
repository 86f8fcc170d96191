// What readers of JSON share.
#pragma once

#include <exception>
#include <string>

namespace varve {

/// A parse exception of nlohmann::json as the end of a sentence: "not JSON at byte 12: syntax
/// error while parsing value - invalid literal".
std::string json_problem(const std::exception& error, size_t at_byte);

}  // namespace varve
