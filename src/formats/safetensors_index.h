// model.safetensors.index.json: which shard of a checkpoint each tensor lies in, and their bytes.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/json_reader.h"

namespace varve {

inline constexpr std::string_view kSafetensorsIndexName = "model.safetensors.index.json";

class SafetensorsIndex {
 public:
  /// Reads `weight_map`: at least one tensor, each in a file beside the index.
  static Result<SafetensorsIndex> parse(JsonObject index);
  static Result<SafetensorsIndex> read(const std::string& path);

  const std::string& file() const { return index_.file(); }
  /// Sorted.
  const std::vector<std::string>& names() const { return names_; }
  /// shards()[i] holds names()[i].
  const std::vector<std::string>& shards() const { return shards_; }
  bool lists(std::string_view name) const;
  /// `metadata.total_size`: of all tensors, without the headers of the shards. Read only when asked
  /// for, since files are read without it.
  Result<std::optional<size_t>> total_bytes() const;

 private:
  explicit SafetensorsIndex(JsonObject index) : index_(std::move(index)) {}

  JsonObject index_;
  std::vector<std::string> names_;
  std::vector<std::string> shards_;
};

}  // namespace varve
