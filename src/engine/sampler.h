// Chooses the next token from logits.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/rng.h"

namespace varve {

/// The steps run in the order of the fields: bias, temperature, then the filters, then a draw.
struct SamplerOptions {
  std::vector<std::pair<int32_t, float>> logit_bias = {};  // (id, added to its logit)
  float temperature = 1;  // 0: the most likely token, equal ones by lower id
  int top_k = 0;          // keep the k most likely; 0: all
  float top_p = 1;        // then the fewest whose probabilities reach top_p; 1: all
  float min_p = 0;        // then those of at least min_p times the highest probability; 0: all
  uint64_t seed = 0;
};

class Sampler {
 public:
  /// Errors (usage): an option out of its range, a bias for an id outside the vocabulary.
  static Result<Sampler> create(const SamplerOptions& options, int vocab_size);

  /// logits [vocab_size]. A NaN counts as -infinity. Allocates nothing.
  int32_t sample(std::span<const float> logits);

  /// What a sampler takes of memory.
  static size_t table_bytes(int vocab_size) {
    return static_cast<size_t>(vocab_size) * sizeof(Candidate);
  }

 private:
  struct Candidate {
    float logit;
    int32_t id;
  };

  Sampler(const SamplerOptions& options, int vocab_size);

  SamplerOptions options_;
  Rng rng_;
  std::vector<Candidate> candidates_;  // [vocab_size]
};

}  // namespace varve
