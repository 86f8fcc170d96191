// What GGUF files call the tensors of a checkpoint (gguf-py: tensor_mapping.py; for DeepSeek-V4
// llama.cpp's loader).
#pragma once

#include <string>
#include <string_view>

namespace varve {

/// The name in a GGUF file of a tensor that safetensors files call `name`, in Transformers'
/// spelling or, for DeepSeek-V4, in the official one: "model.layers.3.self_attn.q_proj.weight" is
/// "blk.3.attn_q.weight". Of all experts of a layer together: "...mlp.experts.gate_proj.weight".
/// Empty for a tensor that GGUF files do not have.
std::string gguf_tensor_name(std::string_view name);

}  // namespace varve
