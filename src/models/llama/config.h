// config.json of the Llama line: Llama, Mistral, Qwen2, Qwen3. One forward pass runs all of them;
// what sets them apart is here.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "attention/rope.h"
#include "base/result.h"
#include "formats/json_reader.h"
#include "kvcache/shape.h"
#include "models/decoder_config.h"

namespace varve::llama {

struct Config : DecoderConfig {
  int n_heads = 0;
  int n_kv_heads = 0;  // n_heads is a multiple of it
  int head_dim = 0;    // even
  int mlp_dim = 0;
  bool qkv_bias = false;
  bool output_bias = false;  // of attention
  bool mlp_bias = false;
  bool qk_norm = false;     // every query's and key's head is normed before RoPE
  bool rope_halves = true;  // RoPE turns pairs (i, i + head_dim / 2); else (2i, 2i + 1)
  Rope rope;
  std::vector<int> windows;  // [n_layers] tokens that a query sees, its own included; 0: all

  CacheShape cache_shape() const;
};

inline constexpr std::array<std::string_view, 4> kModelTypes = {"llama", "mistral", "qwen2",
                                                                "qwen3"};

/// Reads a parsed config.json. Fields that varve would have to ignore to its user's harm (another
/// activation, an unknown RoPE) are refused; messages say which field, what was expected and what
/// was found.
Result<Config> parse_config(const JsonObject& root);

}  // namespace varve::llama
