// The configuration of a model in a GGUF file: its metadata, told in the words of a config.json, so
// that each family has one reader and one set of bounds.
#pragma once

#include <functional>
#include <string_view>

#include "base/result.h"
#include "formats/checkpoint.h"
#include "formats/gguf_metadata.h"
#include "formats/json_reader.h"
#include "tensor/view.h"

namespace varve {

/// Null for a tensor that the file does not have, as Checkpoint::find.
using FindTensor = std::function<const TensorView*(std::string_view name)>;

/// `general.architecture` is one of llama, qwen2, qwen3, deepseek2, deepseek4; the message about
/// another lists these. Messages of who reads the result name the file's own keys. Some facts are
/// in no key and follow from the tensors that are there: biases, a tied head, Llama 3's RoPE
/// (by its values: with Read::headers RoPE stays as it is without, which no plan depends on).
Result<JsonObject> config_from_gguf(const GgufMetadata& metadata, const FindTensor& find,
                                    Read read = Read::all);

}  // namespace varve
