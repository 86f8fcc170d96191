#include "convert/encoding.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "tensor/blocks.h"
#include "tensor/codecs.h"

namespace varve {
namespace {

// A block of MXFP4: the scale's byte, then the codes of values i and i + 16 as the low and the high
// half of byte i. Packed e2m1 has values 2 i and 2 i + 1 in byte i, and the same codes.
constexpr size_t kGroup = 32;
constexpr size_t kHalfGroup = kGroup / 2;
constexpr size_t kMxfp4Bytes = 1 + kHalfGroup;

// E8M0's NaN. MXFP4 takes the byte for a number.
constexpr auto kNanScale = std::byte{255};

int n_scale_rows(const Weight& w) {
  return (w.first_row + w.n_rows - 1) / w.scale_rows - w.first_row / w.scale_rows + 1;
}

template <class Test>
bool all_scales(const Weight& w, const Test& test) {
  for (int r = 0; r < n_scale_rows(w); ++r) {
    const int row = std::max(0, r * w.scale_rows - w.first_row % w.scale_rows);
    for (int c = 0; c < w.n_cols; c += w.scale_cols) {
      if (!test(w.scale(row, c))) return false;
    }
  }
  return true;
}

// Whether bf16 holds an e4m3 or e2m1 value times this: the smallest e4m3 step, 2^-9, becomes 2^-133
// at least, which is bf16's smallest.
bool is_bf16_scale(float scale) {
  int exponent = 0;
  return scale >= 0x1p-124f && std::isfinite(scale) && std::frexp(scale, &exponent) == 0.5f;
}

bool is_scaled(DType type) {
  return type == DType::f8_e4m3 || type == DType::e2m1x2;
}

bool fits_mxfp4(const Weight& w) {
  return w.type == DType::e2m1x2 && w.scale_type == DType::f8_e8m0 && w.scale_rows == 1 &&
         w.scale_cols == static_cast<int>(kGroup) && w.n_cols % static_cast<int>(kGroup) == 0 &&
         all_scales(w, [](float scale) { return !std::isnan(scale); });
}

// One row of packed e2m1 and its scales as blocks.
void pack_mxfp4(const Weight& w, int r, std::byte* to) {
  const std::byte* from = w.row(r);
  const std::byte* scale = w.scales + static_cast<size_t>(w.first_row + r) * w.scale_row_bytes;
  for (int c = 0; c < w.n_cols; c += static_cast<int>(kGroup)) {
    *to++ = *scale++;
    for (size_t i = 0; i < kHalfGroup; ++i) {
      const auto code = [&](size_t k) {
        return k % 2 == 0 ? from[k / 2] & std::byte{15} : from[k / 2] >> 4;
      };
      *to++ = code(i) | code(i + kHalfGroup) << 4;
    }
    from += kHalfGroup;
  }
}

void unpack_mxfp4(const Weight& w, int r, std::byte* to) {
  const std::byte* block = w.row(r);
  for (int c = 0; c < w.n_cols; c += static_cast<int>(kGroup), block += kMxfp4Bytes) {
    const std::byte* const codes = block + 1;
    const auto code = [&](size_t k) {
      return k < kHalfGroup ? codes[k] & std::byte{15} : codes[k - kHalfGroup] >> 4;
    };
    for (size_t k = 0; k < kGroup; k += 2) *to++ = code(k) | code(k + 1) << 4;
  }
}

// Values that are no numbers have no Q8_0.
Result<void> encode_values(std::span<const float> values, DType type, std::byte* to) {
  if (type == DType::f32) {
    std::memcpy(to, values.data(), values.size_bytes());
  } else if (type == DType::bf16) {
    for (const float value : values) {
      const uint16_t bits = bf16_from_f32(value);
      std::memcpy(to, &bits, sizeof bits);
      to += sizeof bits;
    }
  } else {
    if (!std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); })) {
      return bad_input("expected finite values to round to {}, found others", dtype_name(type));
    }
    for (size_t i = 0; i < values.size(); i += dtype_values(type), to += dtype_bytes(type)) {
      encode_block(type, values.data() + i, to);
    }
  }
  return {};
}

}  // namespace

Encoding gguf_encoding(std::span<const Weight> matrices, DType fp8) {
  const auto all = [&](const auto& test) {
    return std::all_of(matrices.begin(), matrices.end(), test);
  };
  const DType type = matrices.front().type;
  if (!all([&](const Weight& w) { return w.type == type; })) return {DType::f32, true};
  if (!is_scaled(type)) return {type, true};
  if (all(fits_mxfp4)) return {DType::mxfp4, true};
  if (type == DType::f8_e4m3 && fp8 == DType::q8_0 &&
      matrices.front().n_cols % static_cast<int>(dtype_values(fp8)) == 0) {
    return {fp8, false};
  }
  const bool in_bf16 = all([](const Weight& w) { return all_scales(w, is_bf16_scale); });
  return {in_bf16 ? DType::bf16 : DType::f32, true};
}

Encoding safetensors_encoding(const Weight& matrix) {
  if (!dtype_is_block(matrix.type)) return {matrix.type, true};
  if (matrix.type != DType::mxfp4) return {DType::f32, true};
  const size_t n_blocks =
      static_cast<size_t>(matrix.n_rows) * static_cast<size_t>(matrix.n_cols) / kGroup;
  for (size_t b = 0; b < n_blocks; ++b) {
    if (matrix.data[b * kMxfp4Bytes] == kNanScale) return {DType::f32, true};
  }
  return {DType::e2m1x2, true};
}

size_t encoded_bytes(DType type, int64_t n_rows, int64_t n_cols) {
  return static_cast<size_t>(n_rows) * static_cast<size_t>(n_cols) / dtype_values(type) *
         dtype_bytes(type);
}

Result<void> write_rows(const Weight& matrix, DType type, const Sink& sink) {
  std::vector<std::byte> row(encoded_bytes(type, 1, matrix.n_cols));
  std::vector<float> values(static_cast<size_t>(matrix.n_cols));
  for (int r = 0; r < matrix.n_rows; ++r) {
    if (type == matrix.type) {
      VARVE_CHECKED(sink({matrix.row(r), matrix.row_bytes}));
      continue;
    }
    if (type == DType::mxfp4) {
      pack_mxfp4(matrix, r, row.data());
    } else if (type == DType::e2m1x2) {
      unpack_mxfp4(matrix, r, row.data());
    } else {
      decode_row(matrix, r, values);
      VARVE_CHECKED(encode_values(values, type, row.data()));
    }
    VARVE_CHECKED(sink(row));
  }
  return {};
}

Result<void> write_scales(const Weight& mxfp4, const Sink& sink) {
  std::vector<std::byte> row(static_cast<size_t>(mxfp4.n_cols) / kGroup);
  for (int r = 0; r < mxfp4.n_rows; ++r) {
    for (size_t b = 0; b < row.size(); ++b) row[b] = mxfp4.row(r)[b * kMxfp4Bytes];
    VARVE_CHECKED(sink(row));
  }
  return {};
}

}  // namespace varve
