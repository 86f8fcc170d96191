// The matrix of a linear layer, as the checkpoint stores it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "tensor/blocks.h"
#include "tensor/codecs.h"
#include "tensor/dtype.h"

namespace varve {

/// [n_rows, n_cols]: row r holds the weights of output r. Values are
/// decode(data[r, c]) * decode(scales[(first_row + r) / scale_rows, c / scale_cols]),
/// one f32 rounding at most (none when the scale is a power of two). No alignment is assumed.
/// Rows of block types are blocks side by side, n_cols is a multiple of dtype_values(type), and
/// there are no other scales than theirs (blocks.h).
struct Weight {
  DType type = DType::f32;  // f32 bf16 f16 f8_e4m3 e2m1x2 or a block type
  int n_rows = 0;
  int n_cols = 0;  // values, not bytes: an e2m1x2 row has n_cols / 2 bytes
  const std::byte* data = nullptr;
  size_t row_bytes = 0;

  const std::byte* scales = nullptr;  // null: no scales
  DType scale_type = DType::f8_e8m0;  // f8_e8m0 or f32
  int scale_rows = 1;                 // extent of one scale's block
  int scale_cols = 1;
  size_t scale_row_bytes = 0;
  int first_row = 0;  // of the whole stored matrix, where this is a slice of its rows

  const std::byte* row(int r) const { return data + static_cast<size_t>(r) * row_bytes; }

  /// Rows [begin, begin + count) of this matrix.
  Weight rows(int begin, int count) const {
    Weight slice = *this;
    slice.data = row(begin);
    slice.n_rows = count;
    slice.first_row = first_row + begin;
    return slice;
  }

  /// The scale of element (r, c); 1 where there are none.
  float scale(int r, int c) const {
    if (scales == nullptr) return 1.0f;
    const std::byte* const at =
        scales + static_cast<size_t>((first_row + r) / scale_rows) * scale_row_bytes;
    const int block = c / scale_cols;
    if (scale_type == DType::f8_e8m0) return f32_from_e8m0(static_cast<uint8_t>(at[block]));
    float value;
    std::memcpy(&value, at + static_cast<size_t>(block) * sizeof value, sizeof value);
    return value;
  }

  /// Element (r, c) as f32: the definition. Of a block type it decodes the whole block.
  float at(int r, int c) const {
    const std::byte* const source = row(r);
    const auto load16 = [&] {
      uint16_t bits;
      std::memcpy(&bits, source + static_cast<size_t>(c) * 2, 2);
      return bits;
    };
    float value = 0;
    switch (type) {
      case DType::f32:
        std::memcpy(&value, source + static_cast<size_t>(c) * 4, 4);
        break;
      case DType::bf16:
        value = f32_from_bf16(load16());
        break;
      case DType::f16:
        value = f32_from_f16(load16());
        break;
      case DType::f8_e4m3:
        value = f32_from_e4m3(static_cast<uint8_t>(source[c]));
        break;
      case DType::e2m1x2: {
        const auto byte = static_cast<uint8_t>(source[c / 2]);
        value = f32_from_e2m1(static_cast<uint8_t>(c % 2 == 0 ? byte & 15 : byte >> 4));
        break;
      }
      default:
        if (dtype_is_block(type)) return block_value(r, c);
        break;
    }
    return value * scale(r, c);
  }

  size_t bytes() const {
    const size_t scale_blocks =
        scales == nullptr ? 0 : static_cast<size_t>((n_rows + scale_rows - 1) / scale_rows);
    return static_cast<size_t>(n_rows) * row_bytes + scale_blocks * scale_row_bytes;
  }

 private:
  float block_value(int r, int c) const {
    float values[kLargestBlock];
    const size_t n = dtype_values(type), column = static_cast<size_t>(c);
    decode_block(type, row(r) + column / n * dtype_bytes(type), values);
    return values[column % n];
  }
};

/// out[0, n_cols) = row r of `weight` as f32: Weight::at, a row at a time.
inline void decode_row(const Weight& weight, int r, std::span<float> out) {
  const std::byte* const source = weight.row(r);
  const auto n = static_cast<size_t>(weight.n_cols);
  const auto code = [&](size_t i) { return static_cast<uint8_t>(source[i]); };
  switch (weight.type) {
    case DType::f32:
      std::memcpy(out.data(), source, n * sizeof(float));
      break;
    case DType::bf16:
    case DType::f16:
      for (size_t c = 0; c < n; ++c) {
        uint16_t bits;
        std::memcpy(&bits, source + c * sizeof bits, sizeof bits);
        out[c] = weight.type == DType::bf16 ? f32_from_bf16(bits) : f32_from_f16(bits);
      }
      break;
    case DType::f8_e4m3:
      for (size_t c = 0; c < n; ++c) out[c] = f32_from_e4m3(code(c));
      break;
    case DType::e2m1x2:
      for (size_t c = 0; c < n; ++c) {
        const uint8_t byte = code(c / 2);
        out[c] = f32_from_e2m1(static_cast<uint8_t>(c % 2 == 0 ? byte & 15 : byte >> 4));
      }
      break;
    default:
      if (dtype_is_block(weight.type)) {
        const size_t n_values = dtype_values(weight.type), n_bytes = dtype_bytes(weight.type);
        for (size_t b = 0; b < n / n_values; ++b) {
          decode_block(weight.type, source + b * n_bytes, out.data() + b * n_values);
        }
      } else {
        std::fill(out.begin(), out.end(), 0.0f);
      }
      break;
  }
  if (weight.scales == nullptr) return;
  for (size_t begin = 0; begin < n; begin += static_cast<size_t>(weight.scale_cols)) {
    const float scale = weight.scale(r, static_cast<int>(begin));
    const size_t end = std::min(n, begin + static_cast<size_t>(weight.scale_cols));
    for (size_t c = begin; c < end; ++c) out[c] *= scale;
  }
}

}  // namespace varve
