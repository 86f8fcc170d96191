// The tokenizer of a model directory, into a GGUF file's metadata.
#pragma once

#include <string>

#include "base/result.h"
#include "formats/gguf_writer.h"
#include "models/deepseek_v4/config.h"

namespace varve {

/// Adds `tokenizer.*`, the ids that begin and end a text left out. A sentence where there is no
/// tokenizer.json in `folder` or where GGUF has no way to say what it does: then nothing is added.
/// A tokenizer.json that is broken is an error.
Result<std::string> add_vocabulary(const std::string& folder, const deepseek_v4::Config& config,
                                   GgufEntries& entries);

}  // namespace varve
