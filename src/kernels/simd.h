// The portable vector kernels (Highway), one table for each instruction set they are built for.
#pragma once

#include <span>

#include "kernels/kernels.h"

namespace varve {

/// The tables that run on this machine, best first: all are called "simd", the description names
/// the instruction set. Empty on a machine below SSE4 or Neon.
///
/// All of them sum in the same lane layout (simd_vector-inl.h), so targets with fused multiply-add
/// agree bit for bit.
std::span<const Kernels* const> simd_kernels();

}  // namespace varve
