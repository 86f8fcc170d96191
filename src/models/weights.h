// Finds a model's tensors in a checkpoint by role, checks them, and turns them into what kernels
// take. A tensor may go by several published names; the first that is there is used. Names are
// those of safetensors files; in a GGUF checkpoint the tensor is found under the name that it has
// there (gguf_names.h).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/checkpoint.h"
#include "models/decoder.h"
#include "models/stored_types.h"
#include "tensor/weight.h"

namespace varve {

class WeightLoader {
 public:
  /// Blocks of the scales of FP8 weights: rows x columns of values per scale.
  WeightLoader(const Checkpoint& checkpoint, int block_rows, int block_cols)
      : checkpoint_(checkpoint), block_rows_(block_rows), block_cols_(block_cols) {}
  /// With `stand_ins`, which must outlive the weights, `checkpoint` is empty: matrices are of the
  /// types that it names, small tensors are zeros, and has() knows the names of an index, if any.
  WeightLoader(const Checkpoint& checkpoint, StandIns* stand_ins, int block_rows, int block_cols)
      : checkpoint_(checkpoint),
        stand_ins_(stand_ins),
        block_rows_(block_rows),
        block_cols_(block_cols) {}

  /// Whether values may be read: without, small tensors are zeros.
  bool has_values() const { return stand_ins_ == nullptr && checkpoint_.has_values(); }

  /// A linear layer [n_rows, n_cols]. `names` are without ".weight". Types: F32, BF16, F16; F8_E4M3
  /// with a scale per block; I8 (packed e2m1) with a scale per 32 columns; GGUF's block types.
  /// Scales are called NAME.scale or NAME.weight_scale_inv, E8M0 or F32.
  Result<Weight> linear(const std::vector<std::string>& names, int n_rows, int n_cols) const;

  /// A matrix [n_rows, n_cols] that is a parameter of its own: `names` are whole. Same types.
  Result<Weight> bare(const std::vector<std::string>& names, int n_rows, int n_cols) const;

  /// Matrix `index` of a stack [n_stack, stack_rows, n_cols] (Transformers keeps experts so): its
  /// rows [first_row, first_row + n_rows).
  Result<Weight> stacked(const std::string& name, int index, int n_stack, int stack_rows,
                         int first_row, int n_rows, int n_cols) const;

  /// Gated MLP `index` of three such stacks, PREFIXgate_proj.weight and so on (GGUF keeps experts
  /// so).
  Result<ExpertWeights> stacked_mlp(const std::string& prefix, int index, int n_stack,
                                    int hidden_size, int width) const;

  /// A small tensor of exactly `shape`, as f32. Types: F32, BF16, F16. Names are whole.
  Result<std::vector<float>> vector(const std::vector<std::string>& names,
                                    const std::vector<int64_t>& shape) const;

  /// An integer table [n_rows, n_cols] with values in [0, limit). Types: I64, I32.
  Result<std::vector<int32_t>> integers(const std::vector<std::string>& names, int n_rows,
                                        int n_cols, int limit) const;

  bool has(const std::string& name) const;

 private:
  std::string stored_name(const std::string& name) const;
  Result<const TensorView*> find(const std::vector<std::string>& names) const;
  Weight shaped(DType type, DType scale_type, int n_rows, int n_cols) const;
  Result<Weight> stand_in(const std::vector<std::string>& names, int n_rows, int n_cols) const;
  Result<Weight> matrix(const TensorView& tensor, const std::vector<std::string>& scale_names,
                        int n_stack, int n_rows, int n_cols) const;

  const Checkpoint& checkpoint_;
  StandIns* stand_ins_ = nullptr;
  int block_rows_;
  int block_cols_;
};

/// What the tensors outside the layers go by.
struct DecoderNames {
  std::vector<std::string> embed = {"model.embed_tokens"};  // without ".weight"
  std::vector<std::string> norm = {"model.norm.weight"};
  std::vector<std::string> head = {"lm_head"};  // without ".weight"
};
Result<DecoderWeights> load_decoder(const WeightLoader& tensors, const DecoderConfig& config,
                                    const DecoderNames& names = {});

/// The tensors of one layer as Transformers names them: names are what follows "model.layers.N.".
class LayerTensors {
 public:
  LayerTensors(const WeightLoader& tensors, int layer);

  Result<Weight> linear(const std::string& name, int n_rows, int n_cols) const;
  Result<std::vector<float>> vector(const std::string& name, int n) const;
  bool has(const std::string& name) const { return tensors_.has(prefix_ + name); }
  /// A stack [n_heads, n_rows, n_cols], head by head. `name` is without ".weight".
  Result<std::vector<Weight>> per_head(const std::string& name, int n_heads, int n_rows,
                                       int n_cols) const;
  /// Expert `index`, PREFIXindex.gate_proj and so on, or where it lies in stacks of all experts.
  Result<ExpertWeights> expert(const std::string& prefix, int index, int n_experts, int hidden_size,
                               int width) const;
  /// A gated MLP [width] whose names begin with `prefix`.
  Result<ExpertWeights> mlp(const std::string& prefix, int hidden_size, int width) const;

 private:
  const WeightLoader& tensors_;
  std::string prefix_;
};

}  // namespace varve
