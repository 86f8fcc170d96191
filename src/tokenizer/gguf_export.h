// A vocabulary from tokenizer.json to what GGUF files carry, and back.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tokenizer/gguf_vocabulary.h"

namespace varve {

/// The fields of GgufVocabulary, owned.
struct GgufExport {
  std::string pre;
  std::vector<std::string> tokens;
  std::vector<int32_t> token_types;
  std::vector<std::string> merges;
};

/// `json` is a text that Tokenizer::parse() takes. There are `n_tokens` tokens, as a model's
/// embedding has: ids that name none get a name of their own. Errors (bad_input), which begin with
/// `name`: no kind of `pre` cuts text as this tokenizer does, an added token that is found in
/// another way than GGUF's are, an id from `n_tokens` on.
Result<GgufExport> export_for_gguf(std::string_view json, const std::string& name, size_t n_tokens);

/// The text of a tokenizer.json that encodes and decodes as `vocabulary` does, which
/// Tokenizer::from_gguf() takes. Ids that name no token are not in it.
std::string tokenizer_json(const GgufVocabulary& vocabulary);

/// And of the tokenizer_config.json beside it: begin and end of a text, the chat template.
std::string tokenizer_config_json(const GgufVocabulary& vocabulary);

}  // namespace varve
