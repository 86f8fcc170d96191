// What the machine can do at most, measured: the denominators of every efficiency figure.
#pragma once

#include <cstddef>

#include "base/arena.h"
#include "base/thread_pool.h"

namespace varve {

/// Of all threads of a team together. 0: this machine has no such instruction.
struct Roofs {
  double read_bytes_per_s = 0;
  double f32_macs_per_s = 0;
  double bf16_macs_per_s = 0;  // dot products of bf16 pairs into f32 (AVX512-BF16)
  double int8_macs_per_s = 0;  // dot products of bytes into i32 (AVX512-VNNI, AVX-VNNI)
};

/// Reads through memory, as often as it is asked to: on some machines the bandwidth comes and goes.
class ReadRoof {
 public:
  /// Memory that is read through: far beyond last-level caches.
  static constexpr size_t kBytes = size_t{256} << 20;

  /// Takes kBytes of memory until it is destroyed; where they are not free, measure() is 0.
  explicit ReadRoof(ThreadPool& pool);
  /// Bytes a second of all threads, over about so many seconds.
  double measure(double seconds);

 private:
  ThreadPool& pool_;
  Arena memory_;
  size_t n_passes_ = 0;
};

/// Takes about half a second.
Roofs measure_roofs(ThreadPool& pool, ReadRoof& read);

}  // namespace varve
