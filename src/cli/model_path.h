// Which model a verb works on.
#pragma once

#include <string>

#include "base/result.h"

namespace varve::cli {

/// `given`, or the bundled model's directory where `given` is empty, which is then said on stderr.
/// Looked for beside the program: DIR/../share/varve/models/varve-tiny, then models/varve-tiny in
/// each folder above it.
Result<std::string> model_or_bundled(const std::string& given);

/// "flash-6l" of "models/flash-6l/": what reports call a model.
std::string model_name(const std::string& path);

}  // namespace varve::cli
