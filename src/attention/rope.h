// Rotary position embedding: the angles of one table of frequencies (spec 2.2).
#pragma once

#include <vector>

namespace varve {

/// YaRN context extension: pairs that turn slowly are slowed down by `factor`.
struct YarnScaling {
  double factor = 1;  // 1: off
  double beta_fast = 32;
  double beta_slow = 1;
  int original_max_position = 65536;
};

/// Llama 3's: pairs that turn slowly within the original context are slowed down by `factor`, those
/// between the two bounds in part.
struct Llama3Scaling {
  double factor = 1;
  double low_freq_factor = 1;   // turns within the original context below which all of it holds
  double high_freq_factor = 4;  // and from which nothing does
  int original_max_position = 8192;
};

class Rope {
 public:
  Rope() = default;
  /// f_i = theta^(-2i / rope_dim), i < rope_dim / 2, then YaRN.
  Rope(int rope_dim, double theta, const YarnScaling& yarn);
  Rope(int rope_dim, double theta, const Llama3Scaling& scaling);
  /// All positions closer by `factor`.
  static Rope linear(int rope_dim, double theta, double factor);

  /// Frequency i by factors[i]: [rope_dim / 2].
  void divide_frequencies(const std::vector<double>& factors);

  /// Cosines and sines are multiplied by it; 1 from the start.
  void set_amplitude(float amplitude) { amplitude_ = amplitude; }

  int rope_dim() const { return 2 * static_cast<int>(frequencies_.size()); }
  const std::vector<float>& frequencies() const { return frequencies_; }

  /// cos and sin [rope_dim / 2] of the angles at `pos`. The angle is one f32 product, as in the
  /// official code: at a million tokens that is coarse, and what the model was trained with.
  void angles(int pos, float* cos, float* sin) const;

 private:
  std::vector<float> frequencies_;
  float amplitude_ = 1;
};

}  // namespace varve
