// What a token costs in a model's cache beside what it would cost in others: `varve inspect`.
#pragma once

#include <string>
#include <vector>

#include "kvcache/layout.h"
#include "models/model.h"

namespace varve::cli {

struct CacheComparison {
  std::string id;    // in JSON
  std::string text;  // for people
  double bytes_per_token = 0;
};

/// Caches to hold a model's against, exact by their formulas:
///  - the same layers and heads with a key and a value of every head, bf16 (MHA);
///  - as many layers of 8 KV heads of 128, bf16 (spec 12.3's GQA-8);
///  - DeepSeek-V3.2 as it is served: 61 layers, 656 + 132 bytes (spec 12.3).
std::vector<CacheComparison> cache_comparisons(const Model& model);

/// The table of them below 80 columns; nothing for a cache that does not grow.
void print_comparisons(const Model& model, const CacheLayout& layout);

}  // namespace varve::cli
