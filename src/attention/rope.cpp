#include "attention/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace varve {

Rope::Rope(int rope_dim, double theta, const YarnScaling& yarn) {
  const int n_pairs = rope_dim / 2;
  // The pair that turns n times within the original context, as a fractional index.
  const auto pair_of_turns = [&](double n) {
    return rope_dim * std::log(yarn.original_max_position / (n * 2 * std::numbers::pi)) /
           (2 * std::log(theta));
  };
  double low = 0, high = 0;
  if (yarn.factor != 1) {
    low = std::max(std::floor(pair_of_turns(yarn.beta_fast)), 0.0);
    high = std::min(std::ceil(pair_of_turns(yarn.beta_slow)), rope_dim - 1.0);
    if (low == high) high += 0.001;
  }
  for (int i = 0; i < n_pairs; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(rope_dim);
    float f = 1.0f / std::pow(static_cast<float>(theta), exponent);
    if (yarn.factor != 1) {
      const auto ramp = static_cast<float>(std::clamp((i - low) / (high - low), 0.0, 1.0));
      f = f / static_cast<float>(yarn.factor) * ramp + f * (1.0f - ramp);
    }
    frequencies_.push_back(f);
  }
}

Rope::Rope(int rope_dim, double theta, const Llama3Scaling& scaling)
    : Rope(rope_dim, theta, YarnScaling{}) {
  const auto factor = static_cast<float>(scaling.factor);
  for (float& f : frequencies_) {
    // Turns within the original context.
    const double turns =
        scaling.original_max_position * static_cast<double>(f) / (2 * std::numbers::pi);
    if (turns >= scaling.high_freq_factor) continue;
    const float slow = f / factor;
    if (turns <= scaling.low_freq_factor) {
      f = slow;
      continue;
    }
    const auto share = static_cast<float>((turns - scaling.low_freq_factor) /
                                          (scaling.high_freq_factor - scaling.low_freq_factor));
    f = (1.0f - share) * slow + share * f;
  }
}

Rope Rope::linear(int rope_dim, double theta, double factor) {
  Rope rope(rope_dim, theta, YarnScaling{});
  for (float& f : rope.frequencies_) f /= static_cast<float>(factor);
  return rope;
}

void Rope::divide_frequencies(const std::vector<double>& factors) {
  for (size_t i = 0; i < frequencies_.size(); ++i) {
    frequencies_[i] /= static_cast<float>(factors[i]);
  }
}

void Rope::angles(int pos, float* cos, float* sin) const {
  for (size_t i = 0; i < frequencies_.size(); ++i) {
    const float angle = static_cast<float>(pos) * frequencies_[i];
    cos[i] = std::cos(angle) * amplitude_;
    sin[i] = std::sin(angle) * amplitude_;
  }
}

}  // namespace varve
