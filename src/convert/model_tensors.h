// The tensors of a DeepSeek-V4 model in the order in which a file is to hold them, whatever they
// are called in the file that they come from.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/deepseek_v4/model.h"
#include "tensor/weight.h"

namespace varve {

/// One of `matrices`, `values` and `ids` is not empty.
struct ModelTensor {
  std::string name;            // the official one; of a stack "layers.3.ffn.experts.w1.weight"
  std::vector<int64_t> shape;  // outermost first, values
  bool is_stack = false;  // of the routed experts: one matrix each; shape [expert, row, column]
  std::vector<Weight> matrices;   // else the parts of one matrix from the top row on
  std::span<const float> values;  // norms, biases and the like
  std::span<const int32_t> ids;   // of hash-routed layers
};

/// Views into `model`.
std::vector<ModelTensor> model_tensors(const deepseek_v4::DeepseekV4& model);

/// "layers.3.ffn.experts.7.w1.weight": the official name of one matrix of a stack.
std::string expert_name(std::string_view stack_name, size_t expert);

}  // namespace varve
