// Reads the golden tensors under tests/data/goldens (made by an outside oracle: tests/README.md).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "models/model.h"

namespace varve::testing_support {

struct GoldenTensor {
  std::vector<int64_t> shape;
  std::vector<float> floats;
  std::vector<int32_t> ints;

  int64_t rows() const { return shape.at(0); }
  int64_t width() const {
    int64_t n = 1;
    for (size_t i = 1; i < shape.size(); ++i) n *= shape[i];
    return n;
  }
  const float* row(int64_t i) const { return floats.data() + i * width(); }
};

class Golden {
 public:
  /// Fails the test when the file or a tensor is not there.
  explicit Golden(const std::string& file);
  GoldenTensor operator[](const std::string& name) const;
  bool has(const std::string& name) const;
  std::vector<std::string> names_with_prefix(const std::string& prefix) const;

 private:
  Checkpoint checkpoint_;
};

std::string data_dir();  // tests/data
std::string golden_dir(const std::string& name);
std::shared_ptr<const Model> load_or_fail(const std::string& path);

}  // namespace varve::testing_support
