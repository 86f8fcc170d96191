// The types that a checkpoint has its tensors in, known from the config alone: for plans of models
// whose files are not there.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/zero_pages.h"
#include "formats/json_reader.h"
#include "formats/safetensors_index.h"
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

/// What weights of models without files are made from: types, the names that there are where an
/// index says so, and zeros as memory, shared by all of them.
class StandIns {
 public:
  /// Errors: a size in the index that is none.
  static Result<StandIns> create(StoredTypes types, std::optional<SafetensorsIndex> index);

  const StoredTypes& types() const { return types_; }
  /// Whether the index names a tensor; false without one.
  bool lists(const std::string& name) const { return index_ && index_->lists(name); }
  /// One of `names` has to be in the index, where there is one.
  Result<void> check_listed(const std::vector<std::string>& names) const;
  /// Of all tensors, as the index has it; nothing where none does.
  std::optional<size_t> total_bytes() const { return total_bytes_; }
  /// At least n bytes that live as long as this. Errors: as ZeroPages::create().
  Result<const std::byte*> zeros(size_t n_bytes);

 private:
  StandIns() = default;

  StoredTypes types_;
  std::optional<SafetensorsIndex> index_;
  std::optional<size_t> total_bytes_;
  std::vector<ZeroPages> pages_;  // each longer than those before
};

}  // namespace varve
