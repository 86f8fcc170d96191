// Texts of DeepSeek-V4's prompts that ship with the checkpoint: what tells the model of its tools,
// of a response format, to reason as long as it can. They are read from there, never made up here.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace varve {

class GgufMetadata;

/// Each is a text, or why there is none.
struct DeepseekV4Texts {
  Result<std::string> tools = missing();
  Result<std::string> response_format = missing();
  Result<std::string> max_effort = missing();

  static tl::unexpected<Error> missing() { return bad_input("it was looked for nowhere"); }
};

/// From DIR/encoding/encoding_dsv4.py: TOOLS_TEMPLATE, response_format_template,
/// REASONING_EFFORT_MAX. The file is not run. Errors (bad_input) name the file.
DeepseekV4Texts read_deepseek_v4_texts(const std::string& dir);
/// From the keys varve.chat.tools_template, .response_format_template, .max_effort.
DeepseekV4Texts read_deepseek_v4_texts(const GgufMetadata& metadata);

/// The same, of those texts that are there: the keys with their values, and a module that
/// read_deepseek_v4_texts() reads, in "DIR/encoding/encoding_dsv4.py" (empty where none is there).
std::vector<std::pair<std::string, std::string>> gguf_entries_of(const DeepseekV4Texts& texts);
std::string python_module_of(const DeepseekV4Texts& texts);

/// Puts values in the places that a text names in braces, as Python's str.format: {name}; {{ and }}
/// are braces. Errors (bad_input): another name, a brace that stands alone.
Result<std::string> fill_in(
    std::string_view text,
    const std::vector<std::pair<std::string_view, std::string_view>>& values);

}  // namespace varve
