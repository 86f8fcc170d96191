// DeepSeek-V2, V3 and V3.2: config, checkpoint and weights together.
#pragma once

#include <memory>
#include <string>

#include "models/mla/config.h"
#include "models/mla/weights.h"
#include "models/model.h"

namespace varve::mla {

class Mla final : public Model {
 public:
  Mla(Config config, Checkpoint checkpoint, Weights weights)
      : config_(std::move(config)),
        checkpoint_(std::move(checkpoint)),
        weights_(std::move(weights)) {}

  std::string_view family() const override { return config_.model_type; }
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

 private:
  /// Calls visit(weight, share) for every matrix but the embedding, with the share of it that one
  /// token reads.
  template <class Visit>
  void visit_weights(Visit visit) const;

  Config config_;
  Checkpoint checkpoint_;
  Weights weights_;
};

/// A config.json whose sizes run here.
Result<Config> load_config(const std::string& file);

/// `path`: a directory with config.json and the weights.
Result<std::unique_ptr<Mla>> load(const std::string& path);

}  // namespace varve::mla
