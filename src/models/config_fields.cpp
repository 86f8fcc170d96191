#include "models/config_fields.h"

#include <string>
#include <string_view>
#include <utility>

namespace varve {

Result<void> read_special_ids(const JsonObject& root, int vocab_size, int& bos,
                              std::vector<int>& eos) {
  const IntRange ids = {0, vocab_size - 1};
  VARVE_TRY(const int64_t first, root.integer_or("bos_token_id", -1, ids));
  bos = static_cast<int>(first);
  if (!root.has("eos_token_id")) return {};
  if (root.is_array("eos_token_id")) {
    VARVE_TRY(const std::vector<int64_t> found, root.integers("eos_token_id", ids));
    for (const int64_t id : found) eos.push_back(static_cast<int>(id));
    return {};
  }
  VARVE_TRY(const int64_t only, root.integer("eos_token_id", ids));
  eos = {static_cast<int>(only)};
  return {};
}

Result<void> read_fp8_blocks(const JsonObject& root, int& block_rows, int& block_cols) {
  if (!root.has("quantization_config")) return {};
  VARVE_TRY(const JsonObject quant, root.object("quantization_config"));
  for (const auto& [key, expected] :
       {std::pair<std::string_view, std::string>{"quant_method", "fp8"}, {"fmt", "e4m3"}}) {
    VARVE_TRY(const std::string found, quant.string_or(key, expected));
    if (found != expected) return quant.wrong(key, fmt::format("\"{}\"", expected));
  }
  if (!quant.has("weight_block_size")) return {};
  VARVE_TRY(const std::vector<int64_t> block, quant.integers("weight_block_size", {1, 1 << 16}));
  if (block.size() != 2) return quant.wrong("weight_block_size", "an array of 2 integers");
  block_rows = static_cast<int>(block[0]);
  block_cols = static_cast<int>(block[1]);
  return {};
}

}  // namespace varve
