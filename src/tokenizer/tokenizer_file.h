// What a file says of its tokenizer, ready for use.
#pragma once

#include <string_view>

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
  std::string_view vocabulary_field;  // where the file holds the pieces; for messages
};

}  // namespace varve
