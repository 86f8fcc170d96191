// The pools of a cache: rows of one purpose, which share a format that the user may choose.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

#include "kvcache/shape.h"
#include "tensor/row_format.h"

namespace varve {

enum class Pool { window, csa, hca, index, latent, k, v };
inline constexpr int kNumPools = 7;

/// The format of each pool.
struct PoolFormats {
  RowFormat window = RowFormat::f32;
  RowFormat csa = RowFormat::f32;
  RowFormat hca = RowFormat::f32;
  RowFormat index = RowFormat::f32;
  RowFormat latent = RowFormat::f32;
  RowFormat k = RowFormat::f32;
  RowFormat v = RowFormat::f32;

  /// Keys and values of several heads have no native format: they are bf16 then.
  static constexpr PoolFormats all(RowFormat f) {
    const RowFormat kv = f == RowFormat::native ? RowFormat::bf16 : f;
    return {f, f, f, f, f, kv, kv};
  }
  bool operator==(const PoolFormats&) const = default;
  RowFormat of(Pool pool) const;
  RowFormat entries(LayerKind kind) const;
};

struct PoolInfo {
  Pool pool;
  std::string_view name;   // what --kv and JSON call it
  std::string_view label;  // for people
  RowFormat PoolFormats::* format;
};

/// All of them, in the order in which they are shown.
std::span<const PoolInfo> pools();

/// A number of bytes for each pool.
struct PoolBytes {
  std::array<size_t, kNumPools> bytes = {};

  size_t& operator[](Pool pool) { return bytes[static_cast<size_t>(pool)]; }
  size_t operator[](Pool pool) const { return bytes[static_cast<size_t>(pool)]; }
  size_t sum() const {
    size_t total = 0;
    for (const size_t n : bytes) total += n;
    return total;
  }
};

}  // namespace varve
