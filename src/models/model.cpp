#include "models/model.h"

#include "models/deepseek_v4/model.h"

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
    case Part::hyper_connections:
      return "hyper-connections";
    case Part::head:
      break;
  }
  return "head";
}

Result<std::unique_ptr<Model>> load_model(const std::string& path) {
  VARVE_TRY(auto model, deepseek_v4::load(path));
  return std::unique_ptr<Model>(std::move(model));
}

}  // namespace varve
