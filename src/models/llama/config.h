// config.json of the Llama line: Llama, Mistral, Qwen2, Qwen3. One forward pass runs all of them;
// what sets them apart is here.
#pragma once

#include <string>
#include <vector>

#include "attention/rope.h"
#include "base/result.h"
#include "formats/json_reader.h"
#include "kvcache/shape.h"

namespace varve::llama {

struct Config {
  std::string model_type;
  int vocab_size = 0;
  int hidden_size = 0;  // d
  int n_layers = 0;
  int n_heads = 0;
  int n_kv_heads = 0;  // n_heads is a multiple of it
  int head_dim = 0;    // even
  int mlp_dim = 0;
  float rms_eps = 1e-6f;
  bool qkv_bias = false;
  bool output_bias = false;  // of attention
  bool mlp_bias = false;
  bool qk_norm = false;     // every query's and key's head is normed before RoPE
  bool tied_head = false;   // lm_head is the embedding
  bool rope_halves = true;  // RoPE turns pairs (i, i + head_dim / 2); else (2i, 2i + 1)
  Rope rope;
  int max_position = 0;  // tokens
  int fp8_block_rows = 128;
  int fp8_block_cols = 128;
  int bos_id = -1;  // -1: none
  std::vector<int> eos_ids;
  std::vector<int> windows;  // [n_layers] tokens that a query sees, its own included; 0: all

  CacheShape cache_shape() const;
};

/// Whether a `model_type` is one of these.
bool is_known(std::string_view model_type);
inline constexpr std::string_view kKnownTypes = "llama, mistral, qwen2, qwen3";

/// Reads a parsed config.json. Fields that varve would have to ignore to its user's harm (another
/// activation, an unknown RoPE) are refused; messages say which field, what was expected and what
/// was found.
Result<Config> parse_config(const JsonObject& root);

}  // namespace varve::llama
