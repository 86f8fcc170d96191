// Reads a tokenizer.json. See tokenizer.h for what is supported.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "tokenizer/tokenizer_file.h"

namespace varve {

/// Errors (bad_input) begin with `name`. Vocabulary and merges are taken up as they are read; no
/// tree of the whole file is built.
Result<TokenizerFile> read_tokenizer_json(std::string_view json, const std::string& name);

}  // namespace varve
