// What the models of all families have alike: the tensors at both ends, the fields of the config,
// and what follows from them.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "models/decoder_config.h"
#include "models/experts.h"
#include "models/model.h"
#include "models/stored_types.h"
#include "tensor/weight.h"

namespace varve {

struct DecoderWeights {
  Weight embed;             // [vocab_size, d]
  std::vector<float> norm;  // [d], before the head
  Weight head;              // [vocab_size, d]; the embedding where they are tied
  /// Of a model without files: what its matrices are made from.
  std::shared_ptr<StandIns> stand_ins;
};

/// Biases of a gated MLP. Empty where the family has none.
struct MlpBiases {
  std::vector<float> gate, up;  // [width]
  std::vector<float> down;      // [d]
};

/// A family's model: `ConfigT` and `WeightsT` are its own and derive from those above.
template <class ConfigT, class WeightsT>
class Decoder : public Model {
 public:
  using Config = ConfigT;
  using Weights = WeightsT;

  Decoder(Config config, Checkpoint checkpoint, Weights weights)
      : config_(std::move(config)),
        checkpoint_(std::move(checkpoint)),
        weights_(std::move(weights)) {}

  const Config& config() const { return config_; }
  const Weights& weights() const { return weights_; }

  std::string_view family() const final { return config_.model_type; }
  int vocab_size() const final { return config_.vocab_size; }
  int max_position() const final { return config_.max_position; }
  int bos_id() const final { return config_.bos_id; }
  std::span<const int> eos_ids() const final { return config_.eos_ids; }
  CacheShape cache_shape() const final { return config_.cache_shape(); }
  const Checkpoint& checkpoint() const final { return checkpoint_; }
  Result<void> copy_weights(const std::function<void(size_t)>& progress) final {
    return checkpoint_.replace_by_copy(progress);
  }

  bool has_values() const final { return !weights_.stand_ins && checkpoint_.has_values(); }
  WeightSource weight_source() const final {
    if (!weights_.stand_ins) return WeightSource::files;
    return weights_.stand_ins->total_bytes() ? WeightSource::index : WeightSource::config;
  }
  size_t weight_bytes() const final {
    if (!weights_.stand_ins) return checkpoint_.mapped_bytes();
    return weights_.stand_ins->total_bytes().value_or(matrix_bytes());
  }
  size_t decode_weight_bytes() const final;
  size_t decode_weight_macs() const final;
  std::vector<PartCost> prefill_costs(const PoolFormats& formats, int depth, int n_tokens,
                                      int chunk_tokens) const final;

 protected:
  /// Of all matrices as they are stored.
  virtual size_t matrix_bytes() const;
  /// visit_weights for a layer's experts.
  void visit_experts(const std::vector<ExpertWeights>& experts, const WeightVisitor& visit) const;

  /// The parts of one chunk, positions [begin, end), in sum and without the weights. Which parts
  /// there are depends on `formats` alone.
  virtual std::vector<PartCost> row_costs(const PoolFormats& formats, int begin, int end) const = 0;

  Config config_;
  Checkpoint checkpoint_;
  Weights weights_;

 private:
  /// Adds what a chunk of n tokens reads and multiplies of the weights.
  void add_weights(PartCost& cost, int n, bool has_logits) const;
};

template <class C, class W>
size_t Decoder<C, W>::decode_weight_bytes() const {
  double bytes = static_cast<double>(weights_.embed.bytes()) / config_.vocab_size;
  visit_weights(
      [&](const Weight& w, double share) { bytes += share * static_cast<double>(w.bytes()); });
  return static_cast<size_t>(bytes);
}

template <class C, class W>
size_t Decoder<C, W>::matrix_bytes() const {
  size_t bytes = config_.tied_head ? 0 : weights_.embed.bytes();
  visit_weights([&](const Weight& w, double) { bytes += w.bytes(); });
  return bytes;
}

template <class C, class W>
size_t Decoder<C, W>::decode_weight_macs() const {
  double macs = 0;
  visit_weights([&](const Weight& w, double share) {
    macs += share * static_cast<double>(w.n_rows) * static_cast<double>(w.n_cols);
  });
  return static_cast<size_t>(macs);
}

template <class C, class W>
void Decoder<C, W>::visit_experts(const std::vector<ExpertWeights>& experts,
                                  const WeightVisitor& visit) const {
  const ExpertCounts counts = this->experts();
  for (size_t e = 0; e < experts.size(); ++e) {
    const bool routed = e < static_cast<size_t>(counts.n);
    const double share = routed ? static_cast<double>(counts.n_used) / counts.n : 1.0;
    visit(experts[e].gate, share);
    visit(experts[e].up, share);
    visit(experts[e].down, share);
  }
}

template <class C, class W>
void Decoder<C, W>::add_weights(PartCost& cost, int n, bool has_logits) const {
  // One row a token, as if all ids of the chunk were different: at most, not as expected.
  cost.bytes += std::min(n, config_.vocab_size) * static_cast<double>(weights_.embed.bytes()) /
                config_.vocab_size;
  visit_weights([&](const Weight& w, double share) {
    const bool head = &w == &weights_.head;
    if (head && !has_logits) return;
    cost.bytes += (1 - std::pow(1 - share, n)) * static_cast<double>(w.bytes());
    cost.macs += share * (head ? 1 : n) * static_cast<double>(w.n_rows) * w.n_cols;
  });
}

template <class C, class W>
std::vector<PartCost> Decoder<C, W>::prefill_costs(const PoolFormats& formats, int depth,
                                                   int n_tokens, int chunk_tokens) const {
  const int last = depth + n_tokens;
  std::vector<PartCost> costs = {{.part = "weights"}};
  for (int begin = depth; begin < last; begin += chunk_tokens) {
    const int end = std::min(begin + chunk_tokens, last);
    add_weights(costs.front(), end - begin, end == last);
    const std::vector<PartCost> rows = row_costs(formats, begin, end);
    for (size_t i = 0; i < rows.size(); ++i) {
      if (begin == depth) costs.push_back({.part = rows[i].part, .unit = rows[i].unit});
      costs[i + 1].bytes += rows[i].bytes;
      costs[i + 1].macs += rows[i].macs;
    }
  }
  for (PartCost& cost : costs) {
    cost.bytes /= n_tokens;
    cost.macs /= n_tokens;
  }
  return costs;
}

}  // namespace varve
