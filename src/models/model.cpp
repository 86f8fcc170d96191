#include "models/model.h"

#include <filesystem>

#include "formats/json_reader.h"
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

// The family that a config.json names.
enum class Family { deepseek_v4, llama, mla };

Result<Family> family_of(const std::string& config_file) {
  VARVE_TRY(const JsonObject config, JsonObject::read(config_file));
  // DeepSeek's own inference/config.json has no such field.
  VARVE_TRY(const std::string type, config.string_or("model_type", "deepseek_v4"));
  if (type == "deepseek_v4") return Family::deepseek_v4;
  if (llama::is_known(type)) return Family::llama;
  if (mla::is_known(type)) return Family::mla;
  return config.wrong("model_type", fmt::format("a model that runs (deepseek_v4, {}, {})",
                                                llama::kKnownTypes, mla::kKnownTypes));
}

template <class T>
Result<std::unique_ptr<Model>> as_model(Result<std::unique_ptr<T>> loaded) {
  if (!loaded) return tl::unexpected(loaded.error());
  return std::unique_ptr<Model>(std::move(*loaded));
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
  VARVE_TRY(const Family family, family_of((fs::path(path) / "config.json").string()));
  switch (family) {
    case Family::llama:
      return as_model(llama::load(path));
    case Family::mla:
      return as_model(mla::load(path));
    case Family::deepseek_v4:
      break;
  }
  return as_model(deepseek_v4::load(path));
}

Result<std::unique_ptr<Model>> load_shapes(const std::string& config_file) {
  VARVE_TRY(const Family family, family_of(config_file));
  if (family == Family::llama) {
    VARVE_TRY(llama::Config config, llama::load_config(config_file));
    return std::make_unique<llama::Llama>(std::move(config), Checkpoint{}, llama::Weights{});
  }
  if (family == Family::mla) {
    VARVE_TRY(mla::Config config, mla::load_config(config_file));
    return std::make_unique<mla::Mla>(std::move(config), Checkpoint{}, mla::Weights{});
  }
  VARVE_TRY(deepseek_v4::Config config, deepseek_v4::load_config(config_file));
  return std::make_unique<deepseek_v4::DeepseekV4>(std::move(config), Checkpoint{},
                                                   deepseek_v4::Weights{});
}

}  // namespace varve
