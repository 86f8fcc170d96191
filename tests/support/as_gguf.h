// Writes a golden's model directory as the GGUF file that published converters would make of it
// (metadata and tensors; no vocabulary), to load the same weights the other way.
#pragma once

#include <string>

namespace varve::testing_support {

struct GgufForm {
  bool split_kv_b = false;  // k_b and v_b by head, as newer files have them, not kv_b
};

/// Weights stay bit for bit what they are; q and k of `llama` have their rows turned round for RoPE
/// in neighbouring pairs. Throws where something fails.
void write_as_gguf(const std::string& model_dir, const std::string& path, GgufForm form = {});

}  // namespace varve::testing_support
