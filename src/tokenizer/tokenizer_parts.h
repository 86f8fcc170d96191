// What a Tokenizer holds.
#pragma once

#include <string>

#include "tokenizer/tokenizer.h"
#include "tokenizer/tokenizer_file.h"

namespace varve {

struct Tokenizer::Parts {
  TokenizerFile file;
  std::string name;  // for messages
};

}  // namespace varve
