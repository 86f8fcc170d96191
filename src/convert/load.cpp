#include "convert/convert.h"
#include "models/deepseek_v4/config.h"

namespace varve {

Result<std::unique_ptr<Model>> load_convertible(const std::string& path) {
  VARVE_TRY(std::unique_ptr<Model> model, load_model(path));
  if (model->family() != deepseek_v4::kModelType) {
    return bad_input("{}: expected a model that convert knows ({}), found {}", path,
                     deepseek_v4::kModelType, model->family());
  }
  return model;
}

}  // namespace varve
