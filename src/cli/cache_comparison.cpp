#include "cli/cache_comparison.h"

#include <fmt/format.h>

#include "models/deepseek_v4/model.h"
#include "models/llama/model.h"
#include "models/mla/model.h"

namespace varve::cli {
namespace {

constexpr double kBf16Bytes = 2;
constexpr int kGqaHeads = 8, kGqaHeadDim = 128;
constexpr int kV32Layers = 61, kV32RowBytes = 656, kV32IndexBytes = 132;

struct Heads {
  int n_layers, n_heads;
  int key_dim, value_dim;
};

Heads heads_of(const Model& model) {
  if (const auto* v4 = dynamic_cast<const deepseek_v4::DeepseekV4*>(&model)) {
    const auto& c = v4->config();
    return {c.n_layers, c.n_heads, c.head_dim, c.head_dim};
  }
  if (const auto* mla = dynamic_cast<const mla::Mla*>(&model)) {
    const auto& c = mla->config();
    return {c.n_layers, c.n_heads, c.qk_dim(), c.v_dim};
  }
  const auto& c = dynamic_cast<const llama::Llama&>(model).config();
  return {c.n_layers, c.n_heads, c.head_dim, c.head_dim};
}

}  // namespace

std::vector<CacheComparison> cache_comparisons(const Model& model) {
  const Heads heads = heads_of(model);
  const double layers = heads.n_layers;
  return {
      {"mha", fmt::format("as MHA: {} heads, bf16", heads.n_heads),
       layers * heads.n_heads * (heads.key_dim + heads.value_dim) * kBf16Bytes},
      {"gqa_8", fmt::format("as GQA-8: {} heads of {}, bf16", kGqaHeads, kGqaHeadDim),
       layers * kGqaHeads * 2 * kGqaHeadDim * kBf16Bytes},
      {"deepseek_v32",
       fmt::format("DeepSeek-V3.2: {} layers of {} + {} B", kV32Layers, kV32RowBytes,
                   kV32IndexBytes),
       double{kV32Layers} * (kV32RowBytes + kV32IndexBytes)},
  };
}

void print_comparisons(const Model& model, const CacheLayout& layout) {
  const double own = layout.bytes_per_token();
  if (own == 0) return;
  fmt::print("\n  {:<42} {:>12} {:>12}\n", "a token's growth beside that of", "B/token",
             "this model's");
  for (const CacheComparison& other : cache_comparisons(model)) {
    fmt::print("  {:<42} {:>12.0f} {:>10.2f} %\n", other.text, other.bytes_per_token,
               100 * own / other.bytes_per_token);
  }
}

}  // namespace varve::cli
