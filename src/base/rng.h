// A small seeded generator whose stream is fixed for ever (unlike the standard's distributions):
// the sampler and make-model promise the same output for the same seed on every machine.
#pragma once

#include <cmath>
#include <cstdint>

namespace varve {

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
class Rng {
 public:
  explicit Rng(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  /// Uniform in [0, 1), 24 bits.
  float uniform() { return static_cast<float>(next() >> 40) * 0x1p-24f; }
  /// Uniform in [0, n); n > 0. The bias is below n / 2^64.
  uint64_t below(uint64_t n) {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(next()) * n) >> 64);
  }
  /// About standard normal: the sum of four 16-bit uniforms of one draw, centred and scaled.
  /// Exact integer arithmetic before one rounding, so it is the same everywhere.
  float normal() {
    const uint64_t bits = next();
    const int64_t sum = static_cast<int64_t>((bits & 0xFFFF) + ((bits >> 16) & 0xFFFF) +
                                             ((bits >> 32) & 0xFFFF) + (bits >> 48));
    // Four uniforms on [0, 65535] have mean 131070 and standard deviation 65536 / sqrt(3).
    return static_cast<float>(sum - 131070) * (1.7320508f / 65536.0f);
  }

 private:
  uint64_t state_;
};

}  // namespace varve
