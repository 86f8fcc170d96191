// DeepSeek-V2, V3 and V3.2: config, checkpoint and weights together.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/decoder.h"
#include "models/mla/config.h"
#include "models/mla/weights.h"

namespace varve::mla {

class Mla final : public Decoder<Config, Weights> {
 public:
  using Decoder::Decoder;

  ExpertCounts experts() const override { return {config_.n_experts, config_.n_experts_used}; }
  size_t vector_bytes() const override;
  std::unique_ptr<Runner> bind(ArenaBuilder& arena, Exec& exec,
                               const RunnerOptions& options) const override;

 private:
  size_t matrix_bytes() const override;
  void visit_weights(const WeightVisitor& visit) const override;
  std::vector<PartCost> row_costs(const PoolFormats& formats, int begin, int end) const override;
};

/// Refuses sizes that do not run here; `file` names the config in the message.
Result<void> check_limits(const Config& config, const std::string& file);

}  // namespace varve::mla
