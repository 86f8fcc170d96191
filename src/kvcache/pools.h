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

/// Whether rows are turned by a Hadamard matrix before they are quantised, which spreads outliers
/// over a row: where a code has at most 5 bits, or for every quantised pool, or for none.
enum class Rotation { few_bits, on, off };

/// At most, of PoolFormats.
inline constexpr int kMaxSinkTokens = kBlockTokens;
inline constexpr int kMaxRecentTokens = 1024;

/// The format of each pool.
struct PoolFormats {
  RowFormat window = RowFormat::f32;
  RowFormat csa = RowFormat::f32;
  RowFormat hca = RowFormat::f32;
  RowFormat index = RowFormat::f32;
  RowFormat latent = RowFormat::f32;
  RowFormat k = RowFormat::f32;
  RowFormat v = RowFormat::f32;
  // Of quantised keys, values and latents each query sees the first tokens and the newest ones,
  // counted from itself, as bf16.
  int sink_tokens = 4;
  int recent_tokens = 128;
  Rotation rotation = Rotation::few_bits;

  /// Keys and values of several heads have no native format: they are bf16 then. Index keys have no
  /// quantised one but native.
  static PoolFormats all(RowFormat f) {
    const RowFormat kv = f == RowFormat::native ? RowFormat::bf16 : f;
    PoolFormats formats;
    formats.window = formats.csa = formats.hca = formats.latent = f;
    formats.index = is_quantized(f) ? RowFormat::native : f;
    formats.k = formats.v = kv;
    return formats;
  }
  bool operator==(const PoolFormats&) const = default;
  RowFormat of(Pool pool) const;
  RowFormat entries(LayerKind kind) const;
  /// Whether some tokens' rows are kept as bf16 too.
  bool keeps_exact(Pool pool) const {
    return is_quantized(of(pool)) && sink_tokens + recent_tokens > 0;
  }
  /// Whether rows of `dim` values of a pool of keys, values or latents are turned. Fewer than 16
  /// values that a Hadamard matrix can mix are left as they are.
  bool rotates(Pool pool, int dim) const;
};

/// Bytes of the token rows of a pool of keys, values or latents that queries at positions
/// [begin, end) see together, those from position `first` on.
double seen_row_bytes(const PoolFormats& formats, Pool pool, const RowShape& row, int first,
                      int begin, int end);

struct PoolInfo {
  Pool pool;
  std::string_view name;   // what --kv and JSON call it
  std::string_view label;  // for people
  RowFormat PoolFormats::* format;
};

/// Whether rows of the pool may have the format.
bool pool_takes(Pool pool, RowFormat format);

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
