// A model's tokenizer, with what the verbs need to know about its use.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "models/model.h"
#include "tokenizer/tokenizer.h"

namespace varve::cli {

/// Loads DIR/tokenizer.json, or the vocabulary in a GGUF file, and checks that its ids are the
/// model's.
Result<Tokenizer> load_tokenizer(const std::string& model_path, const Model& model);

/// Ids of a prompt. `bos`: "auto" puts the model's BOS in front unless the text begins with it,
/// "no" never does.
Result<std::vector<int32_t>> encode_prompt(const Tokenizer& tokenizer, const Model& model,
                                           const std::string& text, const std::string& bos);

/// The whole of stdin, or of a file.
Result<std::string> read_text(const std::string& path_or_dash);

}  // namespace varve::cli
