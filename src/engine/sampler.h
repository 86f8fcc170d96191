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
  /// The same of the ids in `allowed` alone, as if there were no others; at least one is. Bit i %
  /// 32 of word i / 32 stands for id i: [ceil(vocab_size / 32)], bits beyond the vocabulary are not
  /// looked at.
  int32_t sample(std::span<const float> logits, std::span<const uint32_t> allowed);

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
  /// All ids with their logits and biases.
  void fill(std::span<const float> logits);
  int32_t sample_of(std::span<Candidate> candidates);

  SamplerOptions options_;
  Rng rng_;
  std::vector<Candidate> candidates_;  // [vocab_size]
};

}  // namespace varve
