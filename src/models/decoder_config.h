// The fields of a config.json that every family has.
#pragma once

#include <string>
#include <vector>

namespace varve {

struct DecoderConfig {
  std::string model_type;
  int vocab_size = 0;
  int hidden_size = 0;  // d
  int n_layers = 0;
  float rms_eps = 1e-6f;
  bool tied_head = false;    // lm_head is the embedding
  int max_position = 0;      // tokens
  int fp8_block_rows = 128;  // values that share one scale of an FP8 weight
  int fp8_block_cols = 128;
  int bos_id = -1;  // -1: none
  std::vector<int> eos_ids;
};

}  // namespace varve
