// The vocabulary of a GGUF file, out of its metadata.
#pragma once

#include "base/result.h"
#include "formats/gguf_metadata.h"
#include "tokenizer/gguf_vocabulary.h"

namespace varve::cli {

/// Views into `metadata`. Whether the vocabulary makes sense is for the tokenizer to say.
Result<GgufVocabulary> read_vocabulary(const GgufMetadata& metadata);

}  // namespace varve::cli
