// Keys and values of heads in group formats: 16 neighbouring tokens lie interleaved in a tile, so
// that integer dots take them from memory as they are. Each row is still stored from its own values
// alone and has row_bytes() of the tile.
//
// With P = dim filled up to whole groups, d a dimension, r a row of the tile, a tile holds
//   codes   keys:   8 bits: byte [d / 4][r][d % 4]
//                   4 bits: byte [d / 8][r][d % 4], its nibble d / 4 % 2 (0: the low one)
//           values: 8 bits: byte [r / 4][d][r % 4]
//                   4 bits: byte [r / 8][d][r % 4], its nibble r / 4 % 2
//   fifth bits (q5_*), in 64-bit words
//           keys:   bit 4 r + d % 4 of word [d / 4]
//           values: bit 4 (d % 16) + r % 4 of word [r / 4][d / 16]
//   scales  [group][r]
//   minima  [group][r]
#pragma once

#include "tensor/groups.h"

namespace varve {

inline constexpr int kKvTileRows = 16;

enum class KvSide { keys, values };

struct KvTile {
  KvTile(const GroupFormat& format, int head_dim);

  size_t n_groups;
  size_t padded_dim;  // P
  size_t high_at, scales_at, mins_at, bytes;
};

/// Stores values [head_dim] as row r of the tile.
void encode_kv_row(const GroupFormat& format, KvSide side, int head_dim, const float* values, int r,
                   std::byte* tile);
/// values [head_dim] = what row r of the tile stands for: the definition.
void decode_kv_row(const GroupFormat& format, KvSide side, int head_dim, const std::byte* tile,
                   int r, float* values);

// ---- rows in a run of them, in a format of any kind: dense, or in tiles

/// Stores values [shape.dim] as row r of a run; rows of a group format lie in tiles.
void store_kv_row(RowFormat format, KvSide side, const RowShape& shape, const float* values, int r,
                  std::byte* run);
void load_kv_row(RowFormat format, KvSide side, const RowShape& shape, const std::byte* run, int r,
                 float* values);

}  // namespace varve
