// Turns a GGUF file's vocabulary into what a Tokenizer works with.
#pragma once

#include <string>

#include "base/result.h"
#include "tokenizer/gguf_vocabulary.h"
#include "tokenizer/tokenizer_file.h"

namespace varve {

/// Errors (bad_input) begin with `name` and the key.
Result<TokenizerFile> read_gguf_vocabulary(const GgufVocabulary& vocabulary,
                                           const std::string& name);

}  // namespace varve
