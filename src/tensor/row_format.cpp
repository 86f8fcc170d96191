#include "tensor/row_format.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "tensor/codecs.h"
#include "tensor/groups.h"

namespace varve {
namespace {

constexpr std::array kFormats = {
    RowFormatInfo{RowFormat::f32, "f32", "32-bit floats, no rounding", 32},
    RowFormatInfo{RowFormat::bf16, "bf16", "bfloat16", 16},
    RowFormatInfo{RowFormat::f16, "f16", "IEEE half", 16},
    RowFormatInfo{RowFormat::native, "native",
                  "e4m3 with a scale per 64 + bf16 RoPE values; index keys e2m1 per 32", 8},
    RowFormatInfo{RowFormat::q8_0, "q8_0", "8 bits and a scale per 32", 8},
    RowFormatInfo{RowFormat::q5_1, "q5_1", "5 bits, a scale and a minimum per 32", 5},
    RowFormatInfo{RowFormat::q5_0, "q5_0", "5 bits and a scale per 32", 5},
    RowFormatInfo{RowFormat::q4_1, "q4_1", "4 bits, a scale and a minimum per 32", 4},
    RowFormatInfo{RowFormat::q4_0, "q4_0", "4 bits and a scale per 32", 4},
    RowFormatInfo{RowFormat::fp8, "fp8", "e4m3 with a power-of-two scale per 64", 8},
    RowFormatInfo{RowFormat::mxfp4, "mxfp4", "e2m1 with a power-of-two scale per 32", 4},
};

// Where the parts of a native row lie, and of an fp8 row, which ends with its scales.
struct NativeRow {
  NativeRow(const RowShape& shape, bool padded)
      : n_e4m3(static_cast<size_t>(shape.dim - shape.rope_dim)),
        n_bf16(static_cast<size_t>(shape.rope_dim)),
        n_groups((n_e4m3 + kE4m3Group - 1) / kE4m3Group),
        scales_at(n_e4m3 + 2 * n_bf16),
        bytes(padded ? (scales_at + n_groups + 7) / 8 * 8 : scales_at + n_groups) {}
  size_t n_e4m3, n_bf16, n_groups, scales_at, bytes;
};

float largest_magnitude(const float* values, size_t n) {
  float most = 0;
  for (size_t i = 0; i < n; ++i) most = std::max(most, std::fabs(values[i]));
  return most;
}

constexpr uint8_t kMostScale = 245;

void encode_native(const RowShape& shape, bool padded, const float* values, std::byte* row) {
  const NativeRow at(shape, padded);
  std::memset(row + at.scales_at, 0, at.bytes - at.scales_at);
  for (size_t g = 0; g < at.n_groups; ++g) {
    const size_t begin = g * kE4m3Group;
    const size_t end = std::min(begin + kE4m3Group, at.n_e4m3);
    const float amax = std::max(largest_magnitude(values + begin, end - begin), 1e-4f);
    // A scale that keeps every code a normal bf16 number.
    const uint8_t scale = std::min(e8m0_at_or_above(amax * (1.0f / 448.0f)), kMostScale);
    const float inverse = 1.0f / f32_from_e8m0(scale);
    row[at.scales_at + g] = std::byte{scale};
    for (size_t i = begin; i < end; ++i) row[i] = std::byte{e4m3_from_f32(values[i] * inverse)};
  }
  for (size_t i = 0; i < at.n_bf16; ++i) {
    const uint16_t bits = bf16_from_f32(values[at.n_e4m3 + i]);
    std::memcpy(row + at.n_e4m3 + 2 * i, &bits, sizeof bits);
  }
}

void decode_native(const RowShape& shape, const std::byte* row, float* values) {
  const NativeRow at(shape, false);
  for (size_t i = 0; i < at.n_e4m3; ++i) {
    values[i] = f32_from_e4m3(static_cast<uint8_t>(row[i])) *
                f32_from_e8m0(static_cast<uint8_t>(row[at.scales_at + i / kE4m3Group]));
  }
  for (size_t i = 0; i < at.n_bf16; ++i) {
    uint16_t bits;
    std::memcpy(&bits, row + at.n_e4m3 + 2 * i, sizeof bits);
    values[at.n_e4m3 + i] = f32_from_bf16(bits);
  }
}

// Hadamard, then e2m1: nibbles [index_padded(dim)] and an exponent byte per group.
constexpr int kMaxIndexDim = 8192;
void quantize_e2m1(const float* values, int dim, uint8_t* nibbles, uint8_t* scales) {
  std::array<float, kMaxIndexDim> turned;
  std::copy_n(values, dim, turned.begin());
  hadamard(turned.data(), dim);
  std::fill(turned.begin() + dim, turned.begin() + index_padded(dim), 0.0f);
  for (int g = 0; g < index_groups(dim); ++g) {
    const float* const group = turned.data() + g * kE2m1Group;
    const float amax = std::max(largest_magnitude(group, kE2m1Group), 6.0f * 0x1p-126f);
    scales[g] = e8m0_at_or_above(amax * (1.0f / 6.0f));
    const float inverse = 1.0f / f32_from_e8m0(scales[g]);
    for (int i = 0; i < kE2m1Group; ++i) {
      nibbles[g * kE2m1Group + i] = e2m1_from_f32(group[i] * inverse);
    }
  }
}

int8_t twice(uint8_t nibble) {
  return static_cast<int8_t>(2.0f * f32_from_e2m1(nibble));
}

size_t nibble_bytes(int dim) {
  return (static_cast<size_t>(dim) + 1) / 2;
}

void encode_native_index(const float* values, int dim, std::byte* row) {
  std::array<uint8_t, kMaxIndexDim> nibbles;
  std::array<uint8_t, kMaxIndexDim / kE2m1Group> scales;
  quantize_e2m1(values, dim, nibbles.data(), scales.data());
  const size_t n_bytes = nibble_bytes(dim);
  for (size_t i = 0; i < n_bytes; ++i) {
    row[i] = static_cast<std::byte>(nibbles[2 * i] | nibbles[2 * i + 1] << 4);
  }
  for (int g = 0; g < index_groups(dim); ++g) {
    row[n_bytes + static_cast<size_t>(g)] = std::byte{scales[static_cast<size_t>(g)]};
  }
}

void decode_native_index(const std::byte* row, int dim, float* values) {
  const size_t n_bytes = nibble_bytes(dim);
  for (int i = 0; i < dim; ++i) {
    const auto byte = static_cast<uint8_t>(row[i / 2]);
    const auto nibble = static_cast<uint8_t>(i % 2 == 0 ? byte & 15 : byte >> 4);
    values[i] =
        f32_from_e2m1(nibble) *
        f32_from_e8m0(static_cast<uint8_t>(row[n_bytes + static_cast<size_t>(i / kE2m1Group)]));
  }
}

template <class Convert>
void encode_16_bit(const float* values, int dim, std::byte* row, Convert convert) {
  for (size_t i = 0; i < static_cast<size_t>(dim); ++i) {
    const uint16_t bits = convert(values[i]);
    std::memcpy(row + 2 * i, &bits, sizeof bits);
  }
}

template <class Convert>
void decode_16_bit(const std::byte* row, int dim, float* values, Convert convert) {
  for (size_t i = 0; i < static_cast<size_t>(dim); ++i) {
    uint16_t bits;
    std::memcpy(&bits, row + 2 * i, sizeof bits);
    values[i] = convert(bits);
  }
}

}  // namespace

std::span<const RowFormatInfo> row_formats() {
  return kFormats;
}

std::string_view row_format_name(RowFormat format) {
  return kFormats[static_cast<size_t>(format)].name;
}

std::optional<RowFormat> row_format_from_name(std::string_view name) {
  for (const RowFormatInfo& info : kFormats) {
    if (info.name == name) return info.format;
  }
  return std::nullopt;
}

bool is_quantized(RowFormat format) {
  return group_format(format) != nullptr || format == RowFormat::fp8;
}

int row_format_bits(RowFormat format) {
  return kFormats[static_cast<size_t>(format)].bits;
}

size_t row_bytes(RowFormat format, const RowShape& shape) {
  if (const GroupFormat* const groups = group_format(format)) {
    return group_row_bytes(*groups, shape);
  }
  const auto dim = static_cast<size_t>(shape.dim);
  if (format == RowFormat::f32) return dim * 4;
  if (format == RowFormat::bf16 || format == RowFormat::f16) return dim * 2;
  if (shape.index) return nibble_bytes(shape.dim) + static_cast<size_t>(index_groups(shape.dim));
  return NativeRow(shape, format == RowFormat::native).bytes;
}

void encode_row(RowFormat format, const RowShape& shape, const float* values, std::byte* row) {
  if (const GroupFormat* const groups = group_format(format)) {
    encode_group_row(*groups, shape, values, row);
  } else if (format == RowFormat::f32) {
    std::memcpy(row, values, static_cast<size_t>(shape.dim) * sizeof(float));
  } else if (format == RowFormat::bf16) {
    encode_16_bit(values, shape.dim, row, bf16_from_f32);
  } else if (format == RowFormat::f16) {
    encode_16_bit(values, shape.dim, row, f16_from_f32);
  } else if (shape.index) {
    encode_native_index(values, shape.dim, row);
  } else {
    encode_native(shape, format == RowFormat::native, values, row);
  }
}

void decode_row(RowFormat format, const RowShape& shape, const std::byte* row, float* values) {
  if (const GroupFormat* const groups = group_format(format)) {
    decode_group_row(*groups, shape, row, values);
  } else if (format == RowFormat::f32) {
    std::memcpy(values, row, static_cast<size_t>(shape.dim) * sizeof(float));
  } else if (format == RowFormat::bf16) {
    decode_16_bit(row, shape.dim, values, f32_from_bf16);
  } else if (format == RowFormat::f16) {
    decode_16_bit(row, shape.dim, values, f32_from_f16);
  } else if (shape.index) {
    decode_native_index(row, shape.dim, values);
  } else {
    decode_native(shape, row, values);
  }
}

namespace {

using Eight = float __attribute__((vector_size(32)));

// The stages over pairs 1, 2 and 4 apart of eight values: x, y become x + y, x - y.
void first_stages(float* x) {
  constexpr Eight kSigns[3] = {
      {1, -1, 1, -1, 1, -1, 1, -1}, {1, 1, -1, -1, 1, 1, -1, -1}, {1, 1, 1, 1, -1, -1, -1, -1}};
  Eight v;
  std::memcpy(&v, x, sizeof v);
  v = __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6) + v * kSigns[0];
  v = __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5) + v * kSigns[1];
  v = __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3) + v * kSigns[2];
  std::memcpy(x, &v, sizeof v);
}

}  // namespace

void hadamard(float* values, int dim) {
  const int n = dim & -dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(n));
  for (int block = 0; block < dim; block += n) {
    float* const x = values + block;
    for (int i = 0; i + 8 <= n; i += 8) first_stages(x + i);
    for (int half = n < 8 ? 1 : 8; half < n; half *= 2) {
      for (int i = 0; i < n; i += 2 * half) {
        for (int j = i; j < i + half; ++j) {
          const float a = x[j], b = x[j + half];
          x[j] = a + b;
          x[j + half] = a - b;
        }
      }
    }
    for (int i = 0; i < n; ++i) x[i] *= scale;
  }
}

void quantize_index_query(const float* values, int dim, int8_t* codes, float* scales,
                          int32_t* sums) {
  std::array<uint8_t, kMaxIndexDim> nibbles;
  std::array<uint8_t, kMaxIndexDim / kE2m1Group> exponents;
  quantize_e2m1(values, dim, nibbles.data(), exponents.data());
  for (int i = 0; i < index_padded(dim); ++i) codes[i] = twice(nibbles[static_cast<size_t>(i)]);
  for (int g = 0; g < index_groups(dim); ++g) {
    scales[g] = 0.25f * f32_from_e8m0(exponents[static_cast<size_t>(g)]);
    sums[g] = std::accumulate(codes + g * kE2m1Group, codes + (g + 1) * kE2m1Group, 0);
  }
}

void decode_index_key(const std::byte* row, int dim, int8_t* codes, float* scales) {
  std::fill_n(codes, index_padded(dim), int8_t{0});
  for (int i = 0; i < dim; ++i) {
    const auto byte = static_cast<uint8_t>(row[i / 2]);
    codes[i] = twice(static_cast<uint8_t>(i % 2 == 0 ? byte & 15 : byte >> 4));
  }
  for (int g = 0; g < index_groups(dim); ++g) {
    scales[g] =
        f32_from_e8m0(static_cast<uint8_t>(row[nibble_bytes(dim) + static_cast<size_t>(g)]));
  }
}

}  // namespace varve
