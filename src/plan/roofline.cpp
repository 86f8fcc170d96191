#include "plan/roofline.h"

#include <algorithm>

namespace varve {

PartRoof part_roof(const PartCost& cost, const EngineOptions& options, const Roofs& roofs) {
  const bool dots = options.kernels->name == "avx512bf16";
  double macs_per_s = roofs.f32_macs_per_s;
  std::string_view bound = "f32 FMA";
  if (dots && cost.unit == PartCost::Unit::int8 && roofs.int8_macs_per_s > 0) {
    macs_per_s = roofs.int8_macs_per_s;
    bound = "int8 dot";
  } else if (dots && cost.unit == PartCost::Unit::products && options.products == Products::bf16) {
    macs_per_s = roofs.bf16_macs_per_s;
    bound = "bf16 dot";
  }
  const double read = cost.bytes / roofs.read_bytes_per_s;
  const double multiply = cost.macs / macs_per_s;
  return {cost, std::max(read, multiply), read >= multiply ? "read bandwidth" : bound};
}

std::string_view Roofline::bound() const {
  const auto longest =
      std::max_element(parts.begin(), parts.end(),
                       [](const PartRoof& a, const PartRoof& b) { return a.seconds < b.seconds; });
  return longest == parts.end() ? std::string_view() : longest->bound;
}

Roofline roofline(const std::vector<PartCost>& costs, const EngineOptions& options,
                  const Roofs& roofs) {
  Roofline out;
  for (const PartCost& cost : costs) {
    if (cost.bytes <= 0) continue;
    out.parts.push_back(part_roof(cost, options, roofs));
    out.seconds += out.parts.back().seconds;
  }
  return out;
}

}  // namespace varve
