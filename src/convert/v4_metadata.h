// The configuration of a DeepSeek-V4 model as a GGUF file's metadata: the keys that
// config_from_gguf and llama.cpp's loader read.
#pragma once

#include <string>

#include "base/result.h"
#include "formats/gguf_writer.h"
#include "models/deepseek_v4/config.h"

namespace varve {

/// `general.*`, `deepseek4.*` and the ids that begin and end a text. `file` names the config in the
/// message about what no key can say: another kind of attention than its ratio means, hash-routed
/// layers that are not the first ones, more than three ids that end a text.
Result<void> add_v4_metadata(const deepseek_v4::Config& config, const std::string& file,
                             const std::string& model_name, GgufEntries& entries);

}  // namespace varve
