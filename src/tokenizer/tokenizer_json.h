// Reads a tokenizer.json. See tokenizer.h for what is supported.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/vocabulary.h"

namespace varve {

struct TokenizerFile {
  Vocabulary vocabulary;  // with the added tokens, indexed by bytes and by id
  Bpe bpe;
  AddedTokens added;
  Pretokenizer pretokenizer;
};

/// Errors (bad_input) begin with `name`. Vocabulary and merges are taken up as they are read; no
/// tree of the whole file is built.
Result<TokenizerFile> read_tokenizer_json(std::string_view json, const std::string& name);

}  // namespace varve
