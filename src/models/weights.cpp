#include "models/weights.h"

#include <algorithm>
#include <cstring>

#include "models/gguf_names.h"

namespace varve {
namespace {

constexpr int kFp4GroupCols = 32;

int blocks(int n, int block) {
  return (n + block - 1) / block;
}

Result<void> expect_shape(const TensorView& tensor, const std::vector<int64_t>& shape) {
  if (tensor.shape == shape) return {};
  return bad_input("{}: tensor {}: expected shape {}, found {}", tensor.file, tensor.name,
                   shape_string(shape), shape_string(tensor.shape));
}

// Shape of one matrix (n_stack 0), or of n_stack of them.
std::vector<int64_t> stack_shape(int n_stack, int n_rows, int n_cols) {
  if (n_stack == 0) return {n_rows, n_cols};
  return {n_stack, n_rows, n_cols};
}

bool is_float(DType type) {
  return type == DType::f32 || type == DType::bf16 || type == DType::f16;
}

// Of a tensor of such a type.
float float_at(const TensorView& tensor, size_t i) {
  if (tensor.type == DType::f32) {
    float value;
    std::memcpy(&value, tensor.bytes.data() + i * 4, 4);
    return value;
  }
  uint16_t half;
  std::memcpy(&half, tensor.bytes.data() + i * 2, 2);
  return tensor.type == DType::bf16 ? f32_from_bf16(half) : f32_from_f16(half);
}

}  // namespace

std::string WeightLoader::stored_name(const std::string& name) const {
  return checkpoint_.gguf() == nullptr ? name : gguf_tensor_name(name);
}

bool WeightLoader::has(const std::string& name) const {
  if (stand_ins_ != nullptr) return stand_ins_->lists(name);
  return checkpoint_.find(stored_name(name)) != nullptr;
}

Result<const TensorView*> WeightLoader::find(const std::vector<std::string>& names) const {
  std::vector<std::string> stored;
  for (const std::string& name : names) {
    std::string one = stored_name(name);
    if (const TensorView* tensor = checkpoint_.find(one)) return tensor;
    const bool is_new = std::find(stored.begin(), stored.end(), one) == stored.end();
    if (!one.empty() && is_new) stored.push_back(std::move(one));
  }
  for (const UnreadTensor& unread : checkpoint_.unread()) {
    const bool meant = std::find(stored.begin(), stored.end(), unread.name) != stored.end();
    if (meant) return checkpoint_.get(unread.name);  // which says that its type is not read
  }
  return bad_input("{}: no tensor {}; looked for {}", checkpoint_.files().front(),
                   stored.empty() ? names.front() : stored.front(), fmt::join(stored, ", "));
}

// A matrix as it is stored in `type`, without memory. Scales are of `scale_type`.
Weight WeightLoader::shaped(DType type, DType scale_type, int n_rows, int n_cols) const {
  Weight weight;
  weight.type = type == DType::i8 ? DType::e2m1x2 : type;
  weight.n_rows = n_rows;
  weight.n_cols = n_cols;
  weight.row_bytes =
      static_cast<size_t>(n_cols) / dtype_values(weight.type) * dtype_bytes(weight.type);
  if (type != DType::f8_e4m3 && type != DType::i8) return weight;
  weight.scale_type = scale_type;
  weight.scale_rows = type == DType::i8 ? 1 : block_rows_;
  weight.scale_cols = type == DType::i8 ? kFp4GroupCols : block_cols_;
  weight.scale_row_bytes =
      static_cast<size_t>(blocks(n_cols, weight.scale_cols)) * dtype_bytes(scale_type);
  return weight;
}

Result<Weight> WeightLoader::stand_in(const std::vector<std::string>& names, int n_rows,
                                      int n_cols) const {
  VARVE_CHECKED(stand_ins_->check_listed(names));
  const DType type = stand_ins_->types().of_matrix(names.front());
  const DType scale_type = type == DType::i8 ? DType::f8_e8m0 : stand_ins_->types().fp8_scales;
  Weight weight = shaped(type, scale_type, n_rows, n_cols);
  const size_t n_scale_rows = static_cast<size_t>(blocks(n_rows, weight.scale_rows));
  VARVE_TRY(const std::byte* const zeros,
            stand_ins_->zeros(std::max(static_cast<size_t>(n_rows) * weight.row_bytes,
                                       n_scale_rows * weight.scale_row_bytes)));
  weight.data = zeros;
  if (weight.scale_row_bytes > 0) weight.scales = zeros;
  return weight;
}

Result<Weight> WeightLoader::matrix(const TensorView& tensor,
                                    const std::vector<std::string>& scale_names, int n_stack,
                                    int n_rows, int n_cols) const {
  const DType type = tensor.type;
  const bool packed = type == DType::i8, scaled = packed || type == DType::f8_e4m3;
  if (!scaled && !is_float(type) && !dtype_is_block(type)) {
    return bad_input(
        "{}: tensor {}: expected F32, BF16, F16, F8_E4M3, I8 (packed e2m1) or a block type, "
        "found {}",
        tensor.file, tensor.name, dtype_name(type));
  }
  if (packed && n_cols % 2 != 0) {
    return bad_input("{}: tensor {}: packed e2m1 (I8) needs an even number of columns, not {}",
                     tensor.file, tensor.name, n_cols);
  }
  VARVE_CHECKED(expect_shape(tensor, stack_shape(n_stack, n_rows, packed ? n_cols / 2 : n_cols)));
  const TensorView* scale = nullptr;
  if (scaled) {
    auto found = find(scale_names);
    if (!found) {
      return bad_input("{}: tensor {} is {} and has no scales; looked for {}", tensor.file,
                       tensor.name, dtype_name(type), fmt::join(scale_names, ", "));
    }
    scale = *found;
    if (scale->type != DType::f8_e8m0 && scale->type != DType::f32) {
      return bad_input("{}: tensor {}: expected F8_E8M0 or F32, found {}", scale->file, scale->name,
                       dtype_name(scale->type));
    }
  }
  Weight weight = shaped(type, scaled ? scale->type : DType::f8_e8m0, n_rows, n_cols);
  weight.data = tensor.bytes.data();
  if (!scaled) return weight;
  VARVE_CHECKED(expect_shape(*scale, stack_shape(n_stack, blocks(n_rows, weight.scale_rows),
                                                 blocks(n_cols, weight.scale_cols))));
  weight.scales = scale->bytes.data();
  return weight;
}

Result<Weight> WeightLoader::linear(const std::vector<std::string>& names, int n_rows,
                                    int n_cols) const {
  std::vector<std::string> whole, scales;
  for (const std::string& name : names) {
    whole.push_back(name + ".weight");
    scales.push_back(name + ".scale");
    scales.push_back(name + ".weight_scale_inv");
  }
  if (stand_ins_ != nullptr) return stand_in(whole, n_rows, n_cols);
  VARVE_TRY(const TensorView* tensor, find(whole));
  return matrix(*tensor, scales, 0, n_rows, n_cols);
}

Result<Weight> WeightLoader::bare(const std::vector<std::string>& names, int n_rows,
                                  int n_cols) const {
  if (stand_ins_ != nullptr) return stand_in(names, n_rows, n_cols);
  VARVE_TRY(const TensorView* tensor, find(names));
  return matrix(*tensor, {tensor->name + ".scale", tensor->name + "_scale_inv"}, 0, n_rows, n_cols);
}

Result<Weight> WeightLoader::stacked(const std::string& name, int index, int n_stack,
                                     int stack_rows, int first_row, int n_rows, int n_cols) const {
  if (stand_ins_ != nullptr) return stand_in({name}, n_rows, n_cols);
  VARVE_TRY(const TensorView* tensor, find({name}));
  VARVE_TRY(Weight weight, matrix(*tensor, {name + "_scale_inv", name + ".scale", name + "_scale"},
                                  n_stack, stack_rows, n_cols));
  weight.data += static_cast<size_t>(index) * static_cast<size_t>(stack_rows) * weight.row_bytes;
  if (weight.scales != nullptr) {
    weight.scales += static_cast<size_t>(index) *
                     static_cast<size_t>(blocks(stack_rows, weight.scale_rows)) *
                     weight.scale_row_bytes;
  }
  return weight.rows(first_row, n_rows);
}

Result<ExpertWeights> WeightLoader::stacked_mlp(const std::string& prefix, int index, int n_stack,
                                                int hidden_size, int width) const {
  const auto one = [&](std::string_view end, int n_rows, int n_cols) {
    return stacked(fmt::format("{}{}.weight", prefix, end), index, n_stack, n_rows, 0, n_rows,
                   n_cols);
  };
  ExpertWeights out;
  VARVE_TRY(out.gate, one("gate_proj", width, hidden_size));
  VARVE_TRY(out.up, one("up_proj", width, hidden_size));
  VARVE_TRY(out.down, one("down_proj", hidden_size, width));
  return out;
}

Result<std::vector<float>> WeightLoader::vector(const std::vector<std::string>& names,
                                                const std::vector<int64_t>& shape) const {
  size_t n = 1;
  for (const int64_t extent : shape) n *= static_cast<size_t>(extent);
  std::vector<float> values(n);
  if (stand_ins_ != nullptr) {
    VARVE_CHECKED(stand_ins_->check_listed(names));
    return values;
  }
  VARVE_TRY(const TensorView* tensor, find(names));
  VARVE_CHECKED(expect_shape(*tensor, shape));
  if (!is_float(tensor->type)) {
    return bad_input("{}: tensor {}: expected F32, BF16 or F16, found {}", tensor->file,
                     tensor->name, dtype_name(tensor->type));
  }
  if (!has_values()) return values;
  for (size_t i = 0; i < n; ++i) values[i] = float_at(*tensor, i);
  return values;
}

Result<std::vector<int32_t>> WeightLoader::integers(const std::vector<std::string>& names,
                                                    int n_rows, int n_cols, int limit) const {
  std::vector<int32_t> values(static_cast<size_t>(n_rows) * static_cast<size_t>(n_cols));
  if (stand_ins_ != nullptr) {
    VARVE_CHECKED(stand_ins_->check_listed(names));
    return values;
  }
  VARVE_TRY(const TensorView* tensor, find(names));
  VARVE_CHECKED(expect_shape(*tensor, {n_rows, n_cols}));
  if (tensor->type != DType::i64 && tensor->type != DType::i32) {
    return bad_input("{}: tensor {}: expected I64 or I32, found {}", tensor->file, tensor->name,
                     dtype_name(tensor->type));
  }
  if (!has_values()) return values;
  const size_t width = dtype_bytes(tensor->type);
  for (size_t i = 0; i < values.size(); ++i) {
    int64_t value = 0;
    if (tensor->type == DType::i64) {
      std::memcpy(&value, tensor->bytes.data() + i * width, width);
    } else {
      int32_t narrow;
      std::memcpy(&narrow, tensor->bytes.data() + i * width, width);
      value = narrow;
    }
    if (value < 0 || value >= limit) {
      return bad_input("{}: tensor {}: element {} is {}; expected 0 to {}", tensor->file,
                       tensor->name, i, value, limit - 1);
    }
    values[i] = static_cast<int32_t>(value);
  }
  return values;
}

Result<DecoderWeights> load_decoder(const WeightLoader& tensors, const DecoderConfig& config,
                                    const DecoderNames& names) {
  DecoderWeights out;
  VARVE_TRY(out.embed, tensors.linear(names.embed, config.vocab_size, config.hidden_size));
  out.head = out.embed;
  if (!config.tied_head) {
    VARVE_TRY(out.head, tensors.linear(names.head, config.vocab_size, config.hidden_size));
  }
  VARVE_TRY(out.norm, tensors.vector(names.norm, {config.hidden_size}));
  return out;
}

LayerTensors::LayerTensors(const WeightLoader& tensors, int layer)
    : tensors_(tensors), prefix_(fmt::format("model.layers.{}.", layer)) {}

Result<Weight> LayerTensors::linear(const std::string& name, int n_rows, int n_cols) const {
  return tensors_.linear({prefix_ + name}, n_rows, n_cols);
}

Result<std::vector<float>> LayerTensors::vector(const std::string& name, int n) const {
  return tensors_.vector({prefix_ + name}, {n});
}

Result<std::vector<Weight>> LayerTensors::per_head(const std::string& name, int n_heads, int n_rows,
                                                   int n_cols) const {
  std::vector<Weight> out;
  for (int h = 0; h < n_heads; ++h) {
    VARVE_TRY(const Weight head,
              tensors_.stacked(prefix_ + name + ".weight", h, n_heads, n_rows, 0, n_rows, n_cols));
    out.push_back(head);
  }
  return out;
}

Result<ExpertWeights> LayerTensors::expert(const std::string& prefix, int index, int n_experts,
                                           int hidden_size, int width) const {
  if (tensors_.has(prefix_ + prefix + "gate_proj.weight")) {
    return tensors_.stacked_mlp(prefix_ + prefix, index, n_experts, hidden_size, width);
  }
  return mlp(fmt::format("{}{}.", prefix, index), hidden_size, width);
}

Result<ExpertWeights> LayerTensors::mlp(const std::string& prefix, int hidden_size,
                                        int width) const {
  ExpertWeights out;
  VARVE_TRY(out.gate, linear(prefix + "gate_proj", width, hidden_size));
  VARVE_TRY(out.up, linear(prefix + "up_proj", width, hidden_size));
  VARVE_TRY(out.down, linear(prefix + "down_proj", hidden_size, width));
  return out;
}

}  // namespace varve
