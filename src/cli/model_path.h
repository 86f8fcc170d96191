// Which model a verb works on.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace varve::cli {

/// `given`, or the bundled model's directory where `given` is empty, which is then said on stderr.
/// Looked for beside the program: DIR/../share/varve/models/varve-tiny, then models/varve-tiny in
/// each folder above it.
Result<std::string> model_or_bundled(const std::string& given);

/// Whether `path` is a config.json, or a directory with one, that has no weights beside it: enough
/// for a plan (load_shapes).
bool is_config_alone(const std::string& path);
/// NAME.json of the configs of published models that come with the program; "" where there is none.
std::string published_config(const std::string& name);
/// `name` where there is such a path; else published_config(name), where there is one.
std::string model_or_published(const std::string& name);
/// Their names, sorted.
std::vector<std::string> published_models();

/// "flash-6l" of "models/flash-6l/": what reports call a model.
std::string model_name(const std::string& path);

}  // namespace varve::cli
