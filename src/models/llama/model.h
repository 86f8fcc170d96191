// The Llama line: config, checkpoint and weights together.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/decoder.h"
#include "models/llama/config.h"
#include "models/llama/weights.h"

namespace varve::llama {

class Llama final : public Decoder<Config, Weights> {
 public:
  using Decoder::Decoder;

  size_t vector_bytes() const override;
  std::unique_ptr<Runner> bind(ArenaBuilder& arena, Exec& exec,
                               const RunnerOptions& options) const override;

 private:
  void visit_weights(const WeightVisitor& visit) const override;
  std::vector<PartCost> row_costs(const PoolFormats& formats, int begin, int end) const override;
};

/// Refuses sizes that do not run here; `file` names the config in the message.
Result<void> check_limits(const Config& config, const std::string& file);

}  // namespace varve::llama
