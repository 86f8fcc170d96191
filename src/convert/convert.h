// A DeepSeek-V4 model from one file format into the other: a directory with config.json and
// safetensors files, and a GGUF file.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "models/model.h"
#include "tensor/dtype.h"
#include "tokenizer/gguf_vocabulary.h"

namespace varve {

/// Tensors that were stored alike and became alike.
struct ConvertedTensors {
  std::string from;  // "F8_E4M3", "vectors", ...
  std::string to;
  bool exact = true;  // every value is what it was
  int n = 0;
  size_t bytes = 0;  // in the new file
};

struct Conversion {
  std::vector<ConvertedTensors> tensors;
  int n_left_out = 0;     // of blocks that predict further tokens
  std::string tokenizer;  // a sentence where it could not be taken along; else empty
};

/// Told of bytes written, of how many.
using ConvertProgress = std::function<void(size_t done, size_t total)>;

/// Loads the model at `path`; one of another family is refused.
Result<std::unique_ptr<Model>> load_convertible(const std::string& path);

/// `model` was loaded from the directory `from`. `fp8`: BF16 or Q8_0, for FP8 weights.
Result<Conversion> convert_to_gguf(const Model& model, const std::string& from,
                                   const std::string& to, DType fp8,
                                   const ConvertProgress& progress);

/// `model` was loaded from a GGUF file, whose vocabulary is `vocabulary`; null: it has none.
Result<Conversion> convert_to_directory(const Model& model, const GgufVocabulary* vocabulary,
                                        const std::string& to, const ConvertProgress& progress);

}  // namespace varve
