// Operands for the kernel tests and benchmarks.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/rng.h"
#include "tensor/weight.h"

namespace varve {

/// Memory that ends exactly where an unmapped page begins: reading or writing one byte past it
/// faults.
class GuardedBytes {
 public:
  explicit GuardedBytes(size_t bytes) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t usable = (bytes + page - 1) / page * page;
    mapped_ = usable + page;
    base_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base_ == MAP_FAILED) std::abort();
    if (mprotect(static_cast<std::byte*>(base_) + usable, page, PROT_NONE) != 0) std::abort();
    data_ = static_cast<std::byte*>(base_) + (usable - bytes);
  }
  GuardedBytes(GuardedBytes&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)), mapped_(other.mapped_), data_(other.data_) {}
  GuardedBytes& operator=(GuardedBytes&& other) noexcept {
    std::swap(base_, other.base_);
    std::swap(mapped_, other.mapped_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~GuardedBytes() {
    if (base_ != nullptr) munmap(base_, mapped_);
  }

  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  void* base_ = nullptr;
  size_t mapped_ = 0;
  std::byte* data_ = nullptr;
};

/// n floats, about standard normal.
inline GuardedBytes random_floats(Rng& rng, size_t n) {
  GuardedBytes bytes(n * sizeof(float));
  for (size_t i = 0; i < n; ++i) bytes.as<float>()[i] = rng.normal();
  return bytes;
}

struct WeightShape {
  DType type;
  int n_rows;
  int n_cols;
  int scale_rows = 0;  // 0: no scales
  int scale_cols = 0;
  DType scale_type = DType::f8_e8m0;
  int first_row = 0;
};

struct OwnedWeight {
  GuardedBytes data{0};
  GuardedBytes scales{0};
  Weight weight;
};

/// A block of random codes whose values lie about where those of random_weight() do.
inline void random_block(Rng& rng, DType type, std::byte* block) {
  const size_t bytes = dtype_bytes(type);
  for (size_t i = 0; i < bytes; ++i) block[i] = static_cast<std::byte>(rng.next());
  if (type == DType::mxfp4) {
    block[0] = static_cast<std::byte>(122 + rng.below(9));
    return;
  }
  const auto put_f16 = [&](size_t at, float value) {
    const uint16_t bits = f16_from_f32(value);
    std::memcpy(block + at, &bits, sizeof bits);
  };
  const bool has_minimum =
      type == DType::q4_1 || type == DType::q5_1 || type == DType::q4_k || type == DType::q5_k;
  const float of_group = type == DType::q4_k || type == DType::q5_k ? 1.0f / 32 : 1.0f;
  put_f16(type == DType::q6_k ? 208 : 0,
          type == DType::q6_k ? rng.normal() * 0x1p-12f : rng.normal() * of_group / 8);
  if (has_minimum) put_f16(2, rng.normal() * of_group);
}

inline OwnedWeight random_weight(Rng& rng, const WeightShape& shape) {
  OwnedWeight owned;
  Weight& w = owned.weight;
  w.type = shape.type;
  w.n_rows = shape.n_rows;
  w.n_cols = shape.n_cols;
  const auto n_cols = static_cast<size_t>(shape.n_cols), n_rows = static_cast<size_t>(shape.n_rows);
  const size_t per_element = dtype_values(shape.type);
  w.row_bytes = (n_cols + per_element - 1) / per_element * dtype_bytes(shape.type);
  owned.data = GuardedBytes(n_rows * w.row_bytes);
  w.data = owned.data.as<std::byte>();
  if (dtype_is_block(shape.type)) {
    const size_t bytes = dtype_bytes(shape.type);
    for (size_t b = 0; b < n_rows * w.row_bytes / bytes; ++b) {
      random_block(rng, shape.type, owned.data.as<std::byte>() + b * bytes);
    }
    return owned;
  }
  for (size_t r = 0; r < n_rows; ++r) {
    std::byte* const row = owned.data.as<std::byte>() + r * w.row_bytes;
    for (size_t c = 0; c < n_cols; ++c) {
      const float value = rng.normal();
      uint16_t half;
      switch (shape.type) {
        case DType::f32:
          std::memcpy(row + c * 4, &value, 4);
          break;
        case DType::bf16:
          half = bf16_from_f32(value);
          std::memcpy(row + c * 2, &half, 2);
          break;
        case DType::f16:  // exponents from 0 (subnormal) to 17
          half = static_cast<uint16_t>((rng.below(18) << 10) | (rng.next() & 0x83FFu));
          std::memcpy(row + c * 2, &half, 2);
          break;
        case DType::f8_e4m3:
          row[c] = static_cast<std::byte>(e4m3_from_f32(value));
          break;
        default:
          row[c / 2] = static_cast<std::byte>(rng.next());
          break;
      }
    }
  }
  if (shape.scale_rows == 0) return owned;
  w.scale_type = shape.scale_type;
  w.scale_rows = shape.scale_rows;
  w.scale_cols = shape.scale_cols;
  w.first_row = shape.first_row;
  const auto blocks_down =
      static_cast<size_t>((shape.first_row + shape.n_rows - 1) / shape.scale_rows + 1);
  const auto blocks_across =
      static_cast<size_t>((shape.n_cols + shape.scale_cols - 1) / shape.scale_cols);
  const bool bytes = shape.scale_type == DType::f8_e8m0;
  w.scale_row_bytes = blocks_across * (bytes ? 1 : 4);
  owned.scales = GuardedBytes(blocks_down * w.scale_row_bytes);
  w.scales = owned.scales.as<std::byte>();
  for (size_t i = 0; i < blocks_down * blocks_across; ++i) {
    if (bytes) {
      owned.scales.as<uint8_t>()[i] = static_cast<uint8_t>(122 + rng.below(9));
    } else {
      const float scale = 0.01f + rng.uniform();
      std::memcpy(owned.scales.as<std::byte>() + i * 4, &scale, 4);
    }
  }
  return owned;
}

}  // namespace varve
