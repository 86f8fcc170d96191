// `varve plan --compare`: the model's attention beside others in its place, as a table, JSON and a
// picture.
#pragma once

#include <string>
#include <vector>

#include "plan/comparison.h"

namespace varve::cli {

struct ComparedAttention {
  AttentionVariant attention;
  double active_params = 0;  // the model's; of DeepSeek-V3.2 its own
};

struct PlanComparison {
  std::string model_name;
  const Model* model = nullptr;
  PoolFormats formats;                  // of the model's own rows
  std::vector<ComparedAttention> rows;  // the model's own first, DeepSeek-V3.2 last
};

struct CompareFlags {
  bool json = false;
  std::string svg;  // file; empty: none
};

/// Prints the table or JSON and writes the picture. Errors: no config of DeepSeek-V3.2 beside the
/// program; the picture's file cannot be written.
Result<void> compare_attention(const Model& model, const std::string& model_name,
                               const PoolFormats& formats, const CompareFlags& flags);

/// Cache bytes and FLOPs over context as SVG (plan_compare_plot.cpp).
std::string compare_plot(const PlanComparison& comparison);

}  // namespace varve::cli
