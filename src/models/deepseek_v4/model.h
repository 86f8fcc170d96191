// DeepSeek-V4: config, checkpoint and weights together.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "attention/rope.h"
#include "models/decoder.h"
#include "models/deepseek_v4/config.h"
#include "models/deepseek_v4/weights.h"

namespace varve::deepseek_v4 {

class DeepseekV4 final : public Decoder<Config, Weights> {
 public:
  DeepseekV4(Config config, Checkpoint checkpoint, Weights weights);

  ExpertCounts experts() const override { return {config_.n_experts, config_.n_experts_used}; }
  size_t vector_bytes() const override;
  std::unique_ptr<Runner> bind(ArenaBuilder& arena, Exec& exec,
                               const RunnerOptions& options) const override;

  /// The table of angles of a layer: SWA-only layers have their own.
  const Rope& rope(LayerKind kind) const {
    return kind == LayerKind::swa ? window_rope_ : compress_rope_;
  }

 private:
  void visit_weights(const WeightVisitor& visit) const override;
  std::vector<PartCost> row_costs(const PoolFormats& formats, int begin, int end) const override;

  Rope window_rope_;
  Rope compress_rope_;
};

/// Refuses sizes that do not run here; `file` names the config in the message.
Result<void> check_limits(const Config& config, const std::string& file);

}  // namespace varve::deepseek_v4
