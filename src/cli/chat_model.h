// How a model is talked to.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "chat/chat_format.h"

namespace varve::cli {

/// The chat format of a model directory or a GGUF file; null where it has none. `template_file`,
/// where not empty, goes before its own.
Result<std::unique_ptr<ChatFormat>> format_of_model(const std::string& path,
                                                    const std::string& template_file);

/// `--think yes` or `no` as variables of the format; none where it is empty.
Result<std::vector<std::pair<std::string, jinja::Value>>> think_variables(const std::string& think);

}  // namespace varve::cli
