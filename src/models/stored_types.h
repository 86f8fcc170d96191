// The types that a checkpoint has its tensors in, known from the config alone: for plans of models
// whose files are not there.
#pragma once

#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/zero_pages.h"
#include "formats/json_reader.h"
#include "tensor/dtype.h"

namespace varve {

struct StoredTypes {
  /// Of a matrix by its whole name, as the family's loader asks for it first.
  std::function<DType(std::string_view name)> of_matrix;
  DType fp8_scales = DType::f32;
};

/// What a config.json of Transformers says for any family: `torch_dtype` (or `dtype`), F32, F16 or
/// BF16, bf16 where it is missing; with `quantization_config` FP8 linear layers under f32 scales,
/// but for embeddings, heads, routers and the indexer's head weights.
Result<StoredTypes> stored_types(const JsonObject& config);

/// Memory for weights of models without files: zeros, shared by all of them.
class StandIns {
 public:
  explicit StandIns(StoredTypes types) : types_(std::move(types)) {}

  const StoredTypes& types() const { return types_; }
  /// At least n bytes that live as long as this. Errors: as ZeroPages::create().
  Result<const std::byte*> zeros(size_t n_bytes);

 private:
  StoredTypes types_;
  std::vector<ZeroPages> pages_;  // each longer than those before
};

}  // namespace varve
