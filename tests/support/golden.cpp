#include "support/golden.h"

#include <cstring>
#include <stdexcept>

namespace varve::testing_support {
namespace {

template <class T>
T value_or_throw(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}

}  // namespace

Golden::Golden(const std::string& file) : checkpoint_(value_or_throw(Checkpoint::open(file))) {}

GoldenTensor Golden::operator[](const std::string& name) const {
  const TensorView* const view = checkpoint_.find(name);
  if (view == nullptr) throw std::runtime_error("no golden tensor " + name);
  GoldenTensor out;
  out.shape = view->shape;
  const auto n = static_cast<size_t>(view->n_elements());
  if (view->type == DType::f32) {
    out.floats.resize(n);
    std::memcpy(out.floats.data(), view->bytes.data(), n * sizeof(float));
  } else if (view->type == DType::i32) {
    out.ints.resize(n);
    std::memcpy(out.ints.data(), view->bytes.data(), n * sizeof(int32_t));
  } else {
    throw std::runtime_error("golden tensor " + name + " is neither F32 nor I32");
  }
  return out;
}

bool Golden::has(const std::string& name) const {
  return checkpoint_.find(name) != nullptr;
}

std::vector<std::string> Golden::names_with_prefix(const std::string& prefix) const {
  std::vector<std::string> names;
  for (const TensorView& view : checkpoint_.tensors()) {
    if (view.name.rfind(prefix, 0) == 0) names.push_back(view.name);
  }
  return names;
}

std::string data_dir() {
  return std::string(VARVE_SOURCE_DIR) + "/tests/data";
}

std::string golden_dir(const std::string& name) {
  return data_dir() + "/goldens/" + name;
}

std::shared_ptr<const Model> load_or_fail(const std::string& path) {
  return value_or_throw(load_model(path));
}

}  // namespace varve::testing_support
