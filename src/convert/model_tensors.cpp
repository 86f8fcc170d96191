#include "convert/model_tensors.h"

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace varve {
namespace {

using deepseek_v4::CompressorWeights;
using deepseek_v4::HyperConnection;
using deepseek_v4::LayerConfig;
using deepseek_v4::LayerWeights;

constexpr std::string_view kExperts = ".experts.";

// Adds tensors whose names begin with `prefix`.
class Lister {
 public:
  Lister(const deepseek_v4::Config& config, std::string prefix, std::vector<ModelTensor>& out)
      : config_(config), prefix_(std::move(prefix)), out_(out) {}

  void matrix(std::string_view name, const Weight& weight) { parts(name, {weight}); }
  void parts(std::string_view name, std::vector<Weight> weights) {
    int64_t n_rows = 0;
    for (const Weight& weight : weights) n_rows += weight.n_rows;
    ModelTensor& tensor = add(name, {n_rows, weights.front().n_cols});
    tensor.matrices = std::move(weights);
  }
  void stack(std::string_view name, std::vector<Weight> weights) {
    const Weight& first = weights.front();
    ModelTensor& tensor =
        add(name, {static_cast<int64_t>(weights.size()), first.n_rows, first.n_cols});
    tensor.is_stack = true;
    tensor.matrices = std::move(weights);
  }
  // [n_rows, n_cols], or [n] where n_rows is 0.
  void vector(std::string_view name, const std::vector<float>& values, int n_rows = 0) {
    const auto n = static_cast<int64_t>(values.size());
    std::vector<int64_t> shape = {n};
    if (n_rows > 0) shape = {n_rows, n / n_rows};
    add(name, std::move(shape)).values = values;
  }

  void hyper_connection(std::string_view site, const HyperConnection& hc) {
    matrix(fmt::format("hc_{}_fn", site), hc.fn);
    vector(fmt::format("hc_{}_base", site), hc.base);
    vector(fmt::format("hc_{}_scale", site), hc.scale);
  }
  void layer(const LayerConfig& layer, const LayerWeights& weights);

 private:
  ModelTensor& add(std::string_view name, std::vector<int64_t> shape) {
    ModelTensor& tensor = out_.emplace_back();
    tensor.name = fmt::format("{}{}", prefix_, name);
    tensor.shape = std::move(shape);
    return tensor;
  }
  void compressor(std::string_view site, int ratio, const CompressorWeights& weights);
  void attention(const LayerConfig& layer, const LayerWeights& weights);
  void experts(const LayerConfig& layer, const LayerWeights& weights);

  const deepseek_v4::Config& config_;
  std::string prefix_;
  std::vector<ModelTensor>& out_;
};

void Lister::compressor(std::string_view site, int ratio, const CompressorWeights& weights) {
  matrix(fmt::format("{}.wkv.weight", site), weights.kv);
  matrix(fmt::format("{}.wgate.weight", site), weights.gate);
  vector(fmt::format("{}.ape", site), weights.position_bias, ratio);
  vector(fmt::format("{}.norm.weight", site), weights.norm);
}

void Lister::attention(const LayerConfig& layer, const LayerWeights& weights) {
  vector("attn.attn_sink", weights.sinks);
  matrix("attn.wq_a.weight", weights.wq_a);
  vector("attn.q_norm.weight", weights.q_norm);
  matrix("attn.wq_b.weight", weights.wq_b);
  matrix("attn.wkv.weight", weights.wkv);
  vector("attn.kv_norm.weight", weights.kv_norm);
  parts("attn.wo_a.weight", weights.wo_a);
  matrix("attn.wo_b.weight", weights.wo_b);
  if (layer.attention == LayerKind::swa) return;
  compressor("attn.compressor", layer.ratio, weights.compressor);
  if (layer.attention != LayerKind::csa) return;
  matrix("attn.indexer.wq_b.weight", weights.index_wq_b);
  matrix("attn.indexer.weights_proj.weight", weights.index_weights);
  compressor("attn.indexer.compressor", layer.ratio, weights.index_compressor);
}

void Lister::experts(const LayerConfig& layer, const LayerWeights& weights) {
  matrix("ffn.gate.weight", weights.router);
  if (layer.hash_routed) {
    add("ffn.gate.tid2eid", {config_.vocab_size, config_.n_experts_used}).ids =
        weights.experts_by_id;
  } else {
    vector("ffn.gate.bias", weights.router_bias);
  }
  constexpr std::pair<std::string_view, Weight ExpertWeights::*> kMatrices[] = {
      {"w1", &ExpertWeights::gate}, {"w2", &ExpertWeights::down}, {"w3", &ExpertWeights::up}};
  for (const auto& [name, member] : kMatrices) {
    std::vector<Weight> routed;
    routed.reserve(static_cast<size_t>(config_.n_experts));
    for (int e = 0; e < config_.n_experts; ++e) {
      routed.push_back(weights.experts[static_cast<size_t>(e)].*member);
    }
    stack(fmt::format("ffn.experts.{}.weight", name), std::move(routed));
    if (config_.n_shared_experts == 0) continue;
    matrix(fmt::format("ffn.shared_experts.{}.weight", name), weights.experts.back().*member);
  }
}

void Lister::layer(const LayerConfig& layer, const LayerWeights& weights) {
  hyper_connection("attn", weights.attn_hc);
  hyper_connection("ffn", weights.ffn_hc);
  vector("attn_norm.weight", weights.attn_norm);
  vector("ffn_norm.weight", weights.ffn_norm);
  attention(layer, weights);
  experts(layer, weights);
}

}  // namespace

std::vector<ModelTensor> model_tensors(const deepseek_v4::DeepseekV4& model) {
  const deepseek_v4::Config& config = model.config();
  const deepseek_v4::Weights& weights = model.weights();
  std::vector<ModelTensor> out;
  Lister ends(config, "", out);
  ends.matrix("embed.weight", weights.embed);
  for (size_t i = 0; i < weights.layers.size(); ++i) {
    Lister(config, fmt::format("layers.{}.", i), out).layer(config.layers[i], weights.layers[i]);
  }
  ends.vector("norm.weight", weights.norm);
  if (!config.tied_head) ends.matrix("head.weight", weights.head);
  ends.hyper_connection("head", weights.head_hc);
  return out;
}

std::string expert_name(std::string_view stack_name, size_t expert) {
  const size_t at = stack_name.find(kExperts) + kExperts.size();
  return fmt::format("{}{}.{}", stack_name.substr(0, at), expert, stack_name.substr(at));
}

}  // namespace varve
