// DeepSeek-V4: config, checkpoint and weights together.
#pragma once

#include <memory>
#include <string>

#include "attention/rope.h"
#include "models/deepseek_v4/config.h"
#include "models/deepseek_v4/weights.h"
#include "models/model.h"

namespace varve::deepseek_v4 {

class DeepseekV4 final : public Model {
 public:
  DeepseekV4(Config config, Checkpoint checkpoint, Weights weights);

  std::string_view family() const override { return "deepseek_v4"; }
  int vocab_size() const override { return config_.vocab_size; }
  int max_position() const override { return config_.max_position; }
  int bos_id() const override { return config_.bos_id; }
  std::span<const int> eos_ids() const override { return config_.eos_ids; }
  CacheShape cache_shape() const override { return config_.cache_shape(); }
  ExpertCounts experts() const override { return {config_.n_experts, config_.n_experts_used}; }
  const Checkpoint& checkpoint() const override { return checkpoint_; }
  Result<void> copy_weights(const std::function<void(size_t)>& progress) override {
    return checkpoint_.replace_by_copy(progress);
  }
  size_t vector_bytes() const override;
  size_t decode_weight_bytes() const override;
  size_t decode_weight_macs() const override;
  std::vector<PartCost> prefill_costs(const PoolFormats& formats, int depth, int n_tokens,
                                      int chunk_tokens) const override;
  std::unique_ptr<Runner> bind(ArenaBuilder& arena, Exec& exec,
                               const RunnerOptions& options) const override;

  const Config& config() const { return config_; }
  const Weights& weights() const { return weights_; }
  /// The table of angles of a layer: SWA-only layers have their own.
  const Rope& rope(LayerKind kind) const {
    return kind == LayerKind::swa ? window_rope_ : compress_rope_;
  }

 private:
  /// Calls visit(weight, share) for every matrix, with the share of it that one token reads.
  template <class Visit>
  void visit_weights(Visit visit) const;

  Config config_;
  Checkpoint checkpoint_;
  Weights weights_;
  Rope window_rope_;
  Rope compress_rope_;
};

/// A config.json whose sizes run here.
Result<Config> load_config(const std::string& file);

/// `path`: a directory with config.json and the weights.
Result<std::unique_ptr<DeepseekV4>> load(const std::string& path);

}  // namespace varve::deepseek_v4
