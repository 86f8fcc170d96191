// Model directories with random weights in the official types and under the official names (spec 10
// and 11): for tests, for benchmarks and for trying shapes whose real weights are out of reach.
//
// The same preset and seed give the same bytes on every machine. Each tensor has its own random
// stream, keyed by the seed and its name, so it does not depend on which others are there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/safetensors_writer.h"
#include "models/deepseek_v4/config.h"

namespace varve::deepseek_v4 {

struct SyntheticPreset {
  std::string_view name;
  std::string_view description;  // one line
  Config config = {};
};

/// From the smallest to the largest.
const std::vector<SyntheticPreset>& synthetic_presets();
/// An unknown name is a usage error that lists the known ones.
Result<const SyntheticPreset*> find_synthetic_preset(std::string_view name);

/// What a tensor's elements are drawn from.
enum class SyntheticValues {
  e4m3,  // normal; codes to be multiplied by an e4m3_scales tensor
  e4m3_scales,
  e2m1,  // normal; two codes a byte, to be multiplied by an e2m1_scales tensor
  e2m1_scales,
  bf16,        // normal
  f32,         // normal
  expert_ids,  // rows of different experts
};

struct SyntheticTensor {
  DeclaredTensor declared;
  SyntheticValues values = SyntheticValues::f32;
  double mean = 0;
  double deviation = 0;  // standard deviation; of the weights, where these are their scales
  int n_experts = 0;     // expert_ids: each is below this

  /// Values that count as parameters: scales and tables do not.
  int64_t n_parameters() const;
  size_t n_bytes() const;
};

/// Every tensor of a checkpoint of this shape, the MTP block left out, in the order of the file.
std::vector<SyntheticTensor> synthetic_tensors(const Config& config);

struct SyntheticSize {
  size_t n_bytes = 0;  // of the tensors
  int64_t n_parameters = 0;
};
SyntheticSize synthetic_size(const Config& config);

/// The texts of the tokenizer's files.
/// Byte-level BPE without merges: 3 special tokens, the 256 bytes, then made-up words. The
/// vocabulary has at least kMinSyntheticVocab ids.
std::string synthetic_tokenizer_json(int vocab_size);
inline constexpr int kMinSyntheticVocab = 3 + 256;
std::string synthetic_tokenizer_config_json(const Config& config);

/// Writes model.safetensors, tokenizer.json, tokenizer_config.json and config.json into `dir`,
/// which is made if it is not there. Files of these names are replaced. `progress` may be empty; it
/// is told bytes of weights.
Result<void> write_synthetic(const std::string& dir, const SyntheticPreset& preset, uint64_t seed,
                             const std::function<void(size_t done, size_t total)>& progress);

}  // namespace varve::deepseek_v4
