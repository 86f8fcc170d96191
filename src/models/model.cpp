#include "models/model.h"

#include <filesystem>

#include "formats/json_reader.h"
#include "models/config_fields.h"
#include "models/deepseek_v4/model.h"
#include "models/llama/model.h"
#include "models/mla/model.h"

namespace varve {

std::string_view part_name(Part part) {
  switch (part) {
    case Part::embed:
      return "embedding";
    case Part::linears:
      return "attention linears";
    case Part::compress:
      return "compressor";
    case Part::index:
      return "indexer";
    case Part::attention:
      return "attention";
    case Part::experts:
      return "experts";
    case Part::mlp:
      return "MLP";
    case Part::hyper_connections:
      return "hyper-connections";
    case Part::head:
      break;
  }
  return "head";
}

namespace {

// A family's model out of its config; with the weights of `directory`, or without any where that is
// null. `check_limits` and `load_weights` are the family's.
template <class M>
Result<std::unique_ptr<Model>> build(Result<typename M::Config> parsed, const std::string& file,
                                     const std::string* directory) {
  VARVE_TRY(typename M::Config config, std::move(parsed));
  VARVE_CHECKED(check_limits(config, file));
  VARVE_CHECKED(check_cache(file, config.cache_shape()));
  Checkpoint checkpoint;
  typename M::Weights weights;
  if (directory != nullptr) {
    VARVE_TRY(checkpoint, Checkpoint::open(*directory));
    VARVE_TRY(weights, load_weights(checkpoint, config));
  }
  return std::make_unique<M>(std::move(config), std::move(checkpoint), std::move(weights));
}

// Of the family that the config names.
Result<std::unique_ptr<Model>> build_named(const std::string& file, const std::string* directory) {
  VARVE_TRY(const JsonObject config, JsonObject::read(file));
  // DeepSeek's own inference/config.json has no such field.
  VARVE_TRY(const std::string type,
            config.string_or("model_type", std::string(deepseek_v4::kModelType)));
  if (type == deepseek_v4::kModelType) {
    return build<deepseek_v4::DeepseekV4>(deepseek_v4::parse_config(config), file, directory);
  }
  if (is_one_of(type, llama::kModelTypes)) {
    return build<llama::Llama>(llama::parse_config(config), file, directory);
  }
  if (is_one_of(type, mla::kModelTypes)) {
    return build<mla::Mla>(mla::parse_config(config), file, directory);
  }
  return config.wrong(
      "model_type",
      fmt::format("a model that runs ({}, {}, {})", deepseek_v4::kModelType,
                  fmt::join(llama::kModelTypes, ", "), fmt::join(mla::kModelTypes, ", ")));
}

}  // namespace

Result<std::unique_ptr<Model>> load_model(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return bad_input("no model at {}", path);
  if (!fs::is_directory(path, ignored)) {
    return bad_input("{} is not a directory; a model is one with config.json and safetensors files",
                     path);
  }
  return build_named((fs::path(path) / "config.json").string(), &path);
}

Result<std::unique_ptr<Model>> load_shapes(const std::string& config_file) {
  return build_named(config_file, nullptr);
}

}  // namespace varve
