// What a token costs in a model's cache beside what it would cost in others: `varve inspect`.
#pragma once

#include <vector>

#include "kvcache/layout.h"
#include "plan/comparison.h"

namespace varve::cli {

/// Attention to hold a model's cache against: others in its place, then DeepSeek-V3.2's.
std::vector<AttentionVariant> cache_comparisons(const Model& model);

/// The table of them below 80 columns; nothing for a cache that does not grow.
void print_comparisons(const Model& model, const CacheLayout& layout);

}  // namespace varve::cli
