#include <fmt/ranges.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/simd.h"
#include "kernels/x86_avx512bf16.h"

namespace varve {

std::string_view row_dots_name(RowDots dots) {
  switch (dots) {
    case RowDots::f32:
      return "f32 products";
    case RowDots::bf16:
      return "bf16 dots";
    case RowDots::int8:
      break;
  }
  return "int8 dots";
}

std::span<const Kernels* const> available_kernels() {
  static const std::vector<const Kernels*> sets = [] {
    std::vector<const Kernels*> found = {&ref_kernels()};
    if (!simd_kernels().empty()) found.push_back(simd_kernels().front());
    if (avx512bf16_kernels() != nullptr) found.push_back(avx512bf16_kernels());
    return found;
  }();
  return sets;
}

Result<const Kernels*> select_kernels(std::string_view name) {
  const auto sets = available_kernels();
  if (name.empty()) return sets.back();
  std::vector<std::string_view> names;
  for (const Kernels* set : sets) {
    if (set->name == name) return set;
    names.push_back(set->name);
  }
  return usage_error("no kernel set is called '{}' here; this machine runs: {}", name,
                     fmt::join(names, ", "));
}

Result<const Kernels*> select_kernels_from_environment() {
  const char* const name = std::getenv("VARVE_KERNELS");
  auto chosen = select_kernels(name == nullptr ? "" : name);
  if (!chosen) return usage_error("VARVE_KERNELS: {}", chosen.error().message);
  return chosen;
}

}  // namespace varve
