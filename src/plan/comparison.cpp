#include "plan/comparison.h"

#include <algorithm>

#include "models/deepseek_v4/model.h"
#include "models/llama/model.h"
#include "models/mla/model.h"

namespace varve {
namespace {

constexpr double kBf16Bytes = 2;
constexpr int kGqaHeads = 8, kGqaHeadDim = 128;

// Of DeepSeek-V3.2's config.json.
constexpr int kV32Layers = 61, kV32Heads = 128;
constexpr int kLatentDim = 512, kLatentRopeDim = 64, kV32Topk = 2048;
constexpr int kIndexHeads = 64, kIndexDim = 128;  // V4's too
// Of a row as FlashMLA keeps it: e4m3 with an f32 scale for each 128 values, RoPE values as bf16;
// of an index key e4m3 and one f32 scale.
constexpr int kV32RowBytes = kLatentDim + kLatentDim / 128 * 4 + kLatentRopeDim * 2;
constexpr int kV32IndexBytes = kIndexDim + 4;

// Of V4-Flash's config.json.
constexpr int kV4HeadDim = 512, kV4RopeDim = 64, kV4Window = 128, kV4Topk = 512;
constexpr int kV4SwaLayers = 2, kCsaRatio = 4, kHcaRatio = 128;

struct Heads {
  int n_layers, n_heads;
  int key_dim, value_dim;  // not absorbed
};

const deepseek_v4::Config* v4_config(const Model& model) {
  const auto* v4 = dynamic_cast<const deepseek_v4::DeepseekV4*>(&model);
  return v4 == nullptr ? nullptr : &v4->config();
}

const mla::Config* mla_config(const Model& model) {
  const auto* mla = dynamic_cast<const mla::Mla*>(&model);
  return mla == nullptr ? nullptr : &mla->config();
}

const llama::Config& llama_config(const Model& model) {
  return dynamic_cast<const llama::Llama&>(model).config();
}

Heads heads_of(const Model& model) {
  if (const auto* v4 = v4_config(model)) {
    return {v4->n_layers, v4->n_heads, v4->head_dim, v4->head_dim};
  }
  if (const auto* mla = mla_config(model)) {
    return {mla->n_layers, mla->n_heads, mla->qk_dim(), mla->v_dim};
  }
  const llama::Config& c = llama_config(model);
  return {c.n_layers, c.n_heads, c.head_dim, c.head_dim};
}

LayerAttention v4_layer(const deepseek_v4::Config& c, const deepseek_v4::LayerConfig& layer) {
  LayerAttention out{.n_heads = c.n_heads,
                     .key_dim = c.head_dim,
                     .value_dim = c.head_dim,
                     .window = c.window,
                     .ratio = layer.ratio};
  if (layer.attention != LayerKind::csa) return out;
  out.topk = c.index_topk;
  out.index_n_heads = c.index_n_heads;
  out.index_dim = c.index_head_dim;
  out.fp4_index = true;
  return out;
}

std::vector<LayerAttention> layers_of(const Model& model) {
  std::vector<LayerAttention> layers;
  if (const auto* v4 = v4_config(model)) {
    for (const auto& layer : v4->layers) layers.push_back(v4_layer(*v4, layer));
  } else if (const auto* mla = mla_config(model)) {
    layers.assign(static_cast<size_t>(mla->n_layers),
                  {.n_heads = mla->n_heads,
                   .key_dim = mla->latent_dim(),
                   .value_dim = mla->kv_lora_rank,
                   .ratio = 1,
                   .topk = mla->index_n_heads > 0 ? mla->index_topk : 0,
                   .index_n_heads = mla->index_n_heads,
                   .index_dim = mla->index_head_dim});
  } else {
    const llama::Config& c = llama_config(model);
    for (const int window : c.windows) {
      layers.push_back({.n_heads = c.n_heads,
                        .key_dim = c.head_dim,
                        .value_dim = c.head_dim,
                        .window = window,
                        .ratio = window == 0 ? 1 : 0});
    }
  }
  return layers;
}

AttentionVariant of_layout(std::string id, std::string text, const CacheLayout& layout) {
  return {.id = std::move(id),
          .text = std::move(text),
          .bytes_per_token = layout.bytes_per_token(),
          .bytes_per_sequence =
              static_cast<double>(layout.detail_pools.sum() + layout.state_detail_bytes)};
}

// The same in every layer. `row_bytes`: of one layer.
AttentionVariant uniform(std::string id, std::string text, int n_layers, double row_bytes,
                         const LayerAttention& layer) {
  return {.id = std::move(id),
          .text = std::move(text),
          .bytes_per_token = n_layers * row_bytes,
          .layers = std::vector<LayerAttention>(static_cast<size_t>(n_layers), layer)};
}

LayerAttention latent_layer(int n_heads) {
  return {.n_heads = n_heads,
          .key_dim = kLatentDim + kLatentRopeDim,
          .value_dim = kLatentDim,
          .ratio = 1};
}

AttentionVariant dsa(std::string id, std::string text, int n_layers, int n_heads) {
  LayerAttention layer = latent_layer(n_heads);
  layer.topk = kV32Topk;
  layer.index_n_heads = kIndexHeads;
  layer.index_dim = kIndexDim;
  return uniform(std::move(id), std::move(text), n_layers, kV32RowBytes + kV32IndexBytes, layer);
}

// Window only in the first layers, then CSA and HCA by turns.
AttentionVariant csa_hca(int n_layers, int n_heads) {
  CacheShape shape{.window = kV4Window};
  std::vector<LayerAttention> layers;
  for (int l = 0; l < n_layers; ++l) {
    const bool is_swa = l < kV4SwaLayers, is_csa = !is_swa && (l - kV4SwaLayers) % 2 == 0;
    const int ratio = is_swa ? 0 : is_csa ? kCsaRatio : kHcaRatio;
    shape.layers.push_back({.kind = is_swa   ? LayerKind::swa
                                    : is_csa ? LayerKind::csa
                                             : LayerKind::hca,
                            .ratio = ratio,
                            .head_dim = kV4HeadDim,
                            .rope_dim = kV4RopeDim,
                            .index_dim = is_csa ? kIndexDim : 0});
    layers.push_back({.n_heads = n_heads,
                      .key_dim = kV4HeadDim,
                      .value_dim = kV4HeadDim,
                      .window = kV4Window,
                      .ratio = ratio,
                      .topk = is_csa ? kV4Topk : 0,
                      .index_n_heads = is_csa ? kIndexHeads : 0,
                      .index_dim = is_csa ? kIndexDim : 0,
                      .fp4_index = is_csa});
  }
  AttentionVariant out = of_layout("csa_hca", "as V4, 584 + 68 B",
                                   CacheLayout(shape, PoolFormats::all(RowFormat::native)));
  out.layers = std::move(layers);
  return out;
}

}  // namespace

DecodeFlops AttentionVariant::decode_flops(double active_params, int ctx_tokens) const {
  DecodeFlops out{.weights = 2 * active_params};
  out.fp8_equivalent = kWeightsCount * out.weights;
  for (const LayerAttention& layer : layers) {
    const int n_entries = layer.ratio == 0 ? 0 : ctx_tokens / layer.ratio;
    const bool picks = layer.topk > 0 && n_entries > layer.topk;  // else all, and none is scored
    const double n_met = std::min(layer.window, ctx_tokens) + (picks ? layer.topk : n_entries);
    const double n_scored = picks ? n_entries : 0;
    const double attention = 2 * n_met * layer.n_heads * (layer.key_dim + layer.value_dim);
    const double index = 2 * n_scored * layer.index_n_heads * layer.index_dim;
    out.attention += attention;
    out.index += index;
    out.fp8_equivalent += kBf16AttentionCount * attention +
                          (layer.fp4_index ? kFp4IndexCount : kFp8IndexCount) * index;
  }
  return out;
}

AttentionVariant own_attention(const Model& model, const PoolFormats& formats) {
  AttentionVariant out = of_layout("own", "this model", CacheLayout(model.cache_shape(), formats));
  out.layers = layers_of(model);
  return out;
}

std::vector<AttentionVariant> other_attention(const Model& model) {
  const auto [n_layers, n_heads, key_dim, value_dim] = heads_of(model);
  std::vector<AttentionVariant> out;
  out.push_back(
      uniform("mha", "as MHA, bf16", n_layers, n_heads * (key_dim + value_dim) * kBf16Bytes,
              {.n_heads = n_heads, .key_dim = key_dim, .value_dim = value_dim, .ratio = 1}));
  out.push_back(
      uniform("gqa_8", fmt::format("as GQA-{} of {}, bf16", kGqaHeads, kGqaHeadDim), n_layers,
              kGqaHeads * 2 * kGqaHeadDim * kBf16Bytes,
              {.n_heads = n_heads, .key_dim = kGqaHeadDim, .value_dim = kGqaHeadDim, .ratio = 1}));
  out.push_back(uniform("mla", "as MLA, bf16", n_layers, (kLatentDim + kLatentRopeDim) * kBf16Bytes,
                        latent_layer(n_heads)));
  out.push_back(dsa("dsa", fmt::format("as V3.2, {} + {} B", kV32RowBytes, kV32IndexBytes),
                    n_layers, n_heads));
  if (v4_config(model) == nullptr) out.push_back(csa_hca(n_layers, n_heads));
  return out;
}

AttentionVariant deepseek_v32_attention() {
  return dsa("deepseek_v32", fmt::format("DeepSeek-V3.2, {} layers", kV32Layers), kV32Layers,
             kV32Heads);
}

}  // namespace varve
