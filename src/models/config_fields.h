// Fields of config.json that all families spell alike.
#pragma once

#include <vector>

#include "base/result.h"
#include "formats/json_reader.h"

namespace varve {

/// `bos_token_id` (-1 where there is none) and `eos_token_id`, a number or an array; ids lie in
/// [0, vocab_size).
Result<void> read_special_ids(const JsonObject& root, int vocab_size, int& bos,
                              std::vector<int>& eos);

/// `quantization_config`, which may be missing: fp8 in e4m3, with a scale for each block of
/// `weight_block_size`. Others are refused.
Result<void> read_fp8_blocks(const JsonObject& root, int& block_rows, int& block_cols);

}  // namespace varve
