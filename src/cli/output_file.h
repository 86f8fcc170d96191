// Files that a verb writes besides what it prints.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace varve::cli {

/// Says now, not after the work, whether the file that `flag` names can be written; leaves none
/// behind. An empty path is no file.
Result<void> check_writable(std::string_view flag, const std::string& path);

/// Nothing where the path is empty.
Result<void> write_output(std::string_view flag, const std::string& path, std::string_view text);

}  // namespace varve::cli
