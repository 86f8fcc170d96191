#include "cli/tensor_report.h"

#include <algorithm>

namespace varve::cli {
namespace {

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// By the names of GGUF files; the first rule that holds.
TensorClass classify_gguf(std::string_view name) {
  using enum TensorClass;
  if (name.starts_with("token_embd.") || name.starts_with("output.")) return embedding;
  if (contains(name, "hc_")) return hyper_connections;
  if (name == "output_norm.weight") return norms;
  if (name == "rope_freqs.weight") return attention;
  if (!name.starts_with("blk.")) return other;
  if (contains(name, ".nextn.")) return mtp;
  if (contains(name, ".indexer")) return indexer;
  if (contains(name, ".attn_compressor_")) return compressor;
  if (contains(name, "_shexp.")) return shared_expert;
  if (contains(name, "_exps.")) return routed_experts;
  if (contains(name, ".ffn_gate_inp.") || contains(name, ".ffn_gate_tid2eid.") ||
      contains(name, ".exp_probs_b.")) {
    return router;
  }
  if (name.ends_with("_norm.weight")) return norms;
  if (contains(name, ".ffn_")) return mlp;
  if (contains(name, ".attn_")) return attention;
  return other;
}

// By the official names and Transformers'; the first rule that holds.
TensorClass classify(std::string_view name) {
  using enum TensorClass;
  constexpr std::string_view kRoot = "model.";
  if (name.starts_with(kRoot)) name.remove_prefix(kRoot.size());
  if (name.starts_with("mtp.")) return mtp;
  if (name.starts_with("embed") || name.starts_with("head.") || name.starts_with("lm_head.")) {
    return embedding;
  }
  if (contains(name, "hc_") || contains(name, "_hc.")) return hyper_connections;
  if (name == "norm.weight") return norms;
  if (!name.starts_with("layers.")) return other;
  if (contains(name, ".indexer.")) return indexer;
  if (contains(name, ".compressor.")) return compressor;
  if (contains(name, ".shared_experts.")) return shared_expert;
  if (contains(name, ".experts.")) return routed_experts;
  if (contains(name, ".ffn.gate.") || contains(name, ".mlp.gate.")) return router;
  if (name.ends_with("norm.weight") || name.ends_with("layernorm.weight")) return norms;
  if (contains(name, ".mlp.")) return mlp;
  if (contains(name, ".attn.") || contains(name, ".self_attn.")) return attention;
  return other;
}

// Scales and tables of ids are no parameters. Of the sites of the hyper-connections "scale" is one.
int64_t n_parameters(const TensorView& tensor, TensorClass tensor_class) {
  const bool is_scale = tensor_class != TensorClass::hyper_connections &&
                        (tensor.type == DType::f8_e8m0 || tensor.name.ends_with(".scale") ||
                         tensor.name.ends_with("_scale_inv") || tensor.name.ends_with("_scale"));
  if (is_scale || tensor.type == DType::i32 || tensor.type == DType::i64) return 0;
  return tensor.n_elements() * (tensor.type == DType::i8 ? 2 : 1);
}

}  // namespace

ClassNames class_names(TensorClass tensor_class) {
  switch (tensor_class) {
    case TensorClass::embedding:
      return {"embedding, head", "embedding"};
    case TensorClass::attention:
      return {"attention", "attention"};
    case TensorClass::compressor:
      return {"compressor", "compressor"};
    case TensorClass::indexer:
      return {"indexer", "indexer"};
    case TensorClass::router:
      return {"router", "router"};
    case TensorClass::routed_experts:
      return {"routed experts", "routed_experts"};
    case TensorClass::shared_expert:
      return {"shared expert", "shared_expert"};
    case TensorClass::mlp:
      return {"MLP", "mlp"};
    case TensorClass::norms:
      return {"norms", "norms"};
    case TensorClass::hyper_connections:
      return {"hyper-connections", "hyper_connections"};
    case TensorClass::mtp:
      return {"mtp (not used)", "mtp"};
    case TensorClass::other:
      break;
  }
  return {"other (not used)", "other"};
}

bool is_used(TensorClass tensor_class) {
  return tensor_class != TensorClass::mtp && tensor_class != TensorClass::other;
}

TensorReport report_tensors(const Model& model) {
  TensorReport report;
  int64_t n_routed = 0;
  const bool is_gguf = model.checkpoint().gguf() != nullptr;
  for (const TensorView& tensor : model.checkpoint().tensors()) {
    const TensorClass tensor_class = is_gguf ? classify_gguf(tensor.name) : classify(tensor.name);
    const TensorSum one = {1, n_parameters(tensor, tensor_class), tensor.bytes.size()};
    report.sums[{tensor_class, tensor.type}] += one;
    report.total += one;
    if (is_used(tensor_class)) report.used_parameters += one.n_parameters;
    if (tensor_class == TensorClass::routed_experts) n_routed += one.n_parameters;
  }
  const ExpertCounts experts = model.experts();
  report.active_parameters =
      report.used_parameters - n_routed + n_routed / std::max(1, experts.n) * experts.n_used;
  return report;
}

}  // namespace varve::cli
