#include "models/stored_types.h"

#include <algorithm>
#include <string>

namespace varve {
namespace {

bool stays_whole(std::string_view name) {
  for (const std::string_view part :
       {"embed_tokens", "lm_head", "mlp.gate.", "indexer.weights_proj"}) {
    if (name.find(part) != std::string_view::npos) return true;
  }
  return false;
}

}  // namespace

Result<StoredTypes> stored_types(const JsonObject& config) {
  const char* const field = config.has("torch_dtype") ? "torch_dtype" : "dtype";
  VARVE_TRY(const std::string text, config.string_or(field, "bfloat16"));
  DType type = DType::bf16;
  if (text == "float32") {
    type = DType::f32;
  } else if (text == "float16") {
    type = DType::f16;
  } else if (text != "bfloat16") {
    return config.wrong(field, "\"bfloat16\", \"float16\" or \"float32\"");
  }
  const bool fp8 = config.has("quantization_config");
  return StoredTypes{.of_matrix =
                         [type, fp8](std::string_view name) {
                           return fp8 && !stays_whole(name) ? DType::f8_e4m3 : type;
                         },
                     .fp8_scales = DType::f32};
}

Result<StandIns> StandIns::create(StoredTypes types, std::optional<SafetensorsIndex> index) {
  StandIns out;
  out.types_ = std::move(types);
  if (!index) return out;
  VARVE_TRY(out.total_bytes_, index->total_bytes());
  out.index_ = std::move(index);
  return out;
}

Result<void> StandIns::check_listed(const std::vector<std::string>& names) const {
  if (!index_) return {};
  for (const std::string& name : names) {
    if (index_->lists(name)) return {};
  }
  return bad_input("{}: field `weight_map`: expected one of the tensors {}, it is missing",
                   index_->file(), fmt::join(names, ", "));
}

Result<const std::byte*> StandIns::zeros(size_t n_bytes) {
  if (pages_.empty() || pages_.back().bytes().size() < n_bytes) {
    VARVE_TRY(ZeroPages pages, ZeroPages::create(std::max<size_t>(n_bytes, 1)));
    pages_.push_back(std::move(pages));
  }
  return pages_.back().bytes().data();
}

}  // namespace varve
