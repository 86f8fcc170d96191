// What the machine can do at most, measured: the denominators of every efficiency figure.
#pragma once

#include <cstddef>

#include "base/thread_pool.h"

namespace varve {

/// Of all threads of a team together. 0: this machine has no such instruction.
struct Roofs {
  double read_bytes_per_s = 0;
  double f32_macs_per_s = 0;
  double bf16_macs_per_s = 0;  // dot products of bf16 pairs into f32 (AVX512-BF16)
  double int8_macs_per_s = 0;  // dot products of bytes into i32 (AVX512-VNNI, AVX-VNNI)
};

/// Memory that measure_roofs reads through for the bandwidth: far beyond last-level caches.
inline constexpr size_t kRoofBufferBytes = size_t{256} << 20;

/// Takes about half a second and, while it runs, kRoofBufferBytes of memory (0 read_bytes_per_s
/// where those cannot be had).
Roofs measure_roofs(ThreadPool& pool);

}  // namespace varve
