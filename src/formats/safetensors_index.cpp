#include "formats/safetensors_index.h"

#include <algorithm>
#include <utility>

namespace varve {
namespace {

// A shard lies beside its index: its name may not lead anywhere else.
bool is_plain_name(std::string_view name) {
  return !name.empty() && name != "." && name.find("..") == name.npos &&
         name.find_first_of(std::string_view("/\\\0", 3)) == name.npos;
}

}  // namespace

Result<SafetensorsIndex> SafetensorsIndex::parse(JsonObject index) {
  SafetensorsIndex out(std::move(index));
  VARVE_TRY(const JsonObject weight_map, out.index_.object("weight_map"));
  out.names_ = weight_map.keys();
  if (out.names_.empty()) {
    return bad_input("{}: field `weight_map`: expected at least one tensor, found none",
                     out.file());
  }
  out.shards_.reserve(out.names_.size());
  for (const std::string& name : out.names_) {
    VARVE_TRY(std::string shard, weight_map.string(name));
    if (!is_plain_name(shard)) {
      return weight_map.wrong(name, "the name of a file in the directory of the index");
    }
    out.shards_.push_back(std::move(shard));
  }
  return out;
}

Result<SafetensorsIndex> SafetensorsIndex::read(const std::string& path) {
  VARVE_TRY(JsonObject index, JsonObject::read(path));
  return parse(std::move(index));
}

bool SafetensorsIndex::lists(std::string_view name) const {
  return std::binary_search(names_.begin(), names_.end(), name);
}

Result<std::optional<size_t>> SafetensorsIndex::total_bytes() const {
  if (!index_.has("metadata")) return std::nullopt;
  VARVE_TRY(const JsonObject metadata, index_.object("metadata"));
  if (!metadata.has("total_size")) return std::nullopt;
  VARVE_TRY(const int64_t bytes, metadata.integer("total_size", {1, INT64_MAX}));
  return static_cast<size_t>(bytes);
}

}  // namespace varve
