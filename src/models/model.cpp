#include "models/model.h"

#include <filesystem>
#include <functional>

#include "base/mapped_file.h"
#include "formats/gguf.h"
#include "formats/json_reader.h"
#include "models/config_fields.h"
#include "models/deepseek_v4/model.h"
#include "models/gguf_config.h"
#include "models/llama/model.h"
#include "models/mla/model.h"

namespace varve {

namespace fs = std::filesystem;

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

Result<StoredTypes> types_of(const JsonObject& json, const DecoderConfig&) {
  return stored_types(json);
}
Result<StoredTypes> types_of(const JsonObject& json, const deepseek_v4::Config& config) {
  return deepseek_v4::stored_types(json, config);
}

// Opens the files with the weights, once the config has been found to be good.
using OpenWeights = std::function<Result<CheckpointOutline>()>;

// A family's model out of its config; with stand-ins for weights of which no file is there.
// `check_limits` and `load_weights` are the family's.
template <class M>
Result<std::unique_ptr<Model>> build(Result<typename M::Config> parsed, const JsonObject& json,
                                     const OpenWeights& open) {
  const std::string& file = json.file();
  VARVE_TRY(typename M::Config config, std::move(parsed));
  VARVE_CHECKED(check_limits(config, file));
  VARVE_CHECKED(check_cache(file, config.cache_shape()));
  VARVE_TRY(CheckpointOutline found, open());
  Checkpoint checkpoint;
  std::shared_ptr<StandIns> stand_ins;
  if (found.checkpoint) {
    checkpoint = std::move(*found.checkpoint);
  } else {
    VARVE_TRY(StoredTypes types, types_of(json, config));
    VARVE_TRY(StandIns made, StandIns::create(std::move(types), std::move(found.index)));
    stand_ins = std::make_shared<StandIns>(std::move(made));
  }
  const WeightLoader tensors(checkpoint, stand_ins.get(), config.fp8_block_rows,
                             config.fp8_block_cols);
  VARVE_TRY(typename M::Weights weights, load_weights(tensors, config));
  weights.stand_ins = std::move(stand_ins);
  return std::make_unique<M>(std::move(config), std::move(checkpoint), std::move(weights));
}

// Of the family that the config names.
Result<std::unique_ptr<Model>> build_named(const JsonObject& config, const OpenWeights& open) {
  // DeepSeek's own inference/config.json has no such field.
  VARVE_TRY(const std::string type,
            config.string_or("model_type", std::string(deepseek_v4::kModelType)));
  if (type == deepseek_v4::kModelType) {
    return build<deepseek_v4::DeepseekV4>(deepseek_v4::parse_config(config), config, open);
  }
  if (is_one_of(type, llama::kModelTypes)) {
    return build<llama::Llama>(llama::parse_config(config), config, open);
  }
  if (is_one_of(type, mla::kModelTypes)) {
    return build<mla::Mla>(mla::parse_config(config), config, open);
  }
  return config.wrong(
      "model_type",
      fmt::format("a model that runs ({}, {}, {})", deepseek_v4::kModelType,
                  fmt::join(llama::kModelTypes, ", "), fmt::join(mla::kModelTypes, ", ")));
}

Result<CheckpointOutline> outline_of(Result<Checkpoint> opened) {
  VARVE_TRY(Checkpoint checkpoint, std::move(opened));
  return CheckpointOutline{std::move(checkpoint), std::nullopt};
}

Result<std::unique_ptr<Model>> load_gguf(const std::string& path, Read read) {
  VARVE_TRY(const MappedFile file, MappedFile::open(path));
  if (!is_gguf(file.bytes()) && !path.ends_with(".gguf")) {
    return bad_input(
        "{}: expected a GGUF file or a directory with config.json and safetensors files, found "
        "another file",
        path);
  }
  VARVE_TRY(Checkpoint checkpoint, Checkpoint::open(path, read));
  VARVE_TRY(
      const JsonObject config,
      config_from_gguf(
          *checkpoint.gguf(), [&](std::string_view name) { return checkpoint.find(name); }, read));
  return build_named(config, [&] { return outline_of(std::move(checkpoint)); });
}

std::string config_in(const std::string& directory) {
  return (fs::path(directory) / "config.json").string();
}

}  // namespace

Result<std::unique_ptr<Model>> load_model(const std::string& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return bad_input("no model at {}", path);
  if (!fs::is_directory(path, ignored)) return load_gguf(path, Read::all);
  VARVE_TRY(const JsonObject config, JsonObject::read(config_in(path)));
  return build_named(config, [&] { return outline_of(Checkpoint::open(path)); });
}

Result<std::unique_ptr<Model>> load_shapes(const std::string& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return bad_input("no model at {}", path);
  if (fs::is_directory(path, ignored)) {
    VARVE_TRY(const JsonObject config, JsonObject::read(config_in(path)));
    return build_named(config, [&] { return open_outline(path); });
  }
  if (!path.ends_with(".json")) return load_gguf(path, Read::headers);
  VARVE_TRY(const JsonObject config, JsonObject::read(path));
  return build_named(config, [] { return CheckpointOutline{}; });
}

}  // namespace varve
