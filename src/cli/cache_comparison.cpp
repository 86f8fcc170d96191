#include "cli/cache_comparison.h"

#include <fmt/format.h>

namespace varve::cli {

std::vector<AttentionVariant> cache_comparisons(const Model& model) {
  std::vector<AttentionVariant> out = other_attention(model);
  out.push_back(deepseek_v32_attention());
  return out;
}

void print_comparisons(const Model& model, const CacheLayout& layout) {
  const double own = layout.bytes_per_token();
  if (own == 0) return;
  fmt::print("\n  {:<42} {:>12} {:>12}\n", "a token's growth beside that of", "B/token",
             "this model's");
  for (const AttentionVariant& other : cache_comparisons(model)) {
    fmt::print("  {:<42} {:>12.0f} {:>10.2f} %\n", other.text, other.bytes_per_token,
               100 * own / other.bytes_per_token);
  }
}

}  // namespace varve::cli
