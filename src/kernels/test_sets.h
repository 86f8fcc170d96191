// The kernel sets that the tests compare.
#pragma once

#include <vector>

#include "kernels/kernels.h"
#include "kernels/simd.h"

namespace varve {

/// Every available set, and the vector kernels of each instruction set that this machine has.
inline std::vector<const Kernels*> test_sets() {
  const auto available = available_kernels();
  std::vector<const Kernels*> sets(available.begin(), available.end());
  const auto simd = simd_kernels();
  for (size_t i = 1; i < simd.size(); ++i) sets.push_back(simd[i]);  // the best is among them
  return sets;
}

}  // namespace varve
