#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace varve {

Sampler::Sampler(const SamplerOptions& options, int vocab_size)
    : options_(options), rng_(options.seed), candidates_(static_cast<size_t>(vocab_size)) {}

Result<Sampler> Sampler::create(const SamplerOptions& o, int vocab_size) {
  if (!(o.temperature >= 0 && std::isfinite(o.temperature))) {
    return usage_error("temperature {}: expected 0 or more", o.temperature);
  }
  if (o.top_k < 0) return usage_error("top-k {}: expected 0 (off) or more", o.top_k);
  if (!(o.top_p > 0 && o.top_p <= 1)) {
    return usage_error("top-p {}: expected more than 0, at most 1 (off)", o.top_p);
  }
  if (!(o.min_p >= 0 && o.min_p <= 1)) {
    return usage_error("min-p {}: expected 0 (off) to 1", o.min_p);
  }
  for (const auto& [id, bias] : o.logit_bias) {
    if (id < 0 || id >= vocab_size) {
      return usage_error("logit bias for id {}: the vocabulary has ids 0 to {}", id,
                         vocab_size - 1);
    }
    if (!std::isfinite(bias)) {
      return usage_error("logit bias {} for id {}: expected a finite number", bias, id);
    }
  }
  return Sampler(o, vocab_size);
}

void Sampler::fill(std::span<const float> logits) {
  for (size_t i = 0; i < candidates_.size(); ++i) {
    const float logit = std::isnan(logits[i]) ? -std::numeric_limits<float>::infinity() : logits[i];
    candidates_[i] = {logit, static_cast<int32_t>(i)};
  }
  for (const auto& [id, bias] : options_.logit_bias) {
    candidates_[static_cast<size_t>(id)].logit += bias;
  }
}

int32_t Sampler::sample(std::span<const float> logits) {
  fill(logits);
  return sample_of(candidates_);
}

int32_t Sampler::sample(std::span<const float> logits, std::span<const uint32_t> allowed) {
  fill(logits);
  size_t n = 0;
  for (size_t i = 0; i < candidates_.size(); ++i) {
    if ((allowed[i / 32] >> (i % 32) & 1) != 0) candidates_[n++] = candidates_[i];
  }
  return sample_of(std::span(candidates_).first(n));
}

int32_t Sampler::sample_of(std::span<Candidate> candidates) {
  const auto likelier = [](const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  };
  if (options_.temperature == 0) {
    return std::min_element(candidates.begin(), candidates.end(), likelier)->id;
  }

  auto end = candidates.end();
  if (options_.top_k > 0 && static_cast<size_t>(options_.top_k) < candidates.size()) {
    end = candidates.begin() + options_.top_k;
    std::nth_element(candidates.begin(), end - 1, candidates.end(), likelier);
  }
  // The draw walks the candidates from the likeliest down, so that it depends on the order of
  // probabilities alone and top-p is a prefix.
  std::sort(candidates.begin(), end, likelier);
  const float highest = candidates.front().logit;
  if (!std::isfinite(highest)) return candidates.front().id;
  double total = 0;
  for (auto it = candidates.begin(); it != end; ++it) {
    it->logit = std::exp((it->logit - highest) / options_.temperature);
    total += it->logit;
  }
  if (options_.top_p < 1) {
    double reached = 0;
    auto it = candidates.begin();
    while (it != end && reached < options_.top_p * total) reached += (it++)->logit;
    end = it;
    total = reached;
  }
  if (options_.min_p > 0) {
    auto it = candidates.begin();
    total = 0;
    while (it != end && it->logit >= options_.min_p) total += (it++)->logit;
    end = it;
  }
  double left = rng_.uniform() * total;
  for (auto it = candidates.begin(); it != end; ++it) {
    left -= it->logit;
    if (left < 0) return it->id;
  }
  return (end - 1)->id;  // the rounding of `total` let the draw fall past the last one
}

}  // namespace varve
