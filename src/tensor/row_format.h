// How one row of the cache is stored. Formats are data, in one table: everything that sizes, names,
// writes or reads a row goes through here (docs/formats/rows.md gives the bytes).
//
// A row is written once, from its own values alone, and never changes (law 1).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace varve {

enum class RowFormat : uint8_t {
  f32,     // values as computed: the reference numerics
  bf16,    // rounded to nearest even
  f16,     // the same; beyond +-65504 is infinite
  native,  // the production recipe (spec 2.5): see below
  // Quantised: the unrotated values in groups (groups.h), the rotated ones as bf16.
  q8_0,
  q5_1,
  q5_0,
  q4_1,
  q4_0,
  fp8,  // e4m3 as in native rows, nothing behind the scales
  mxfp4,
};

/// What a row holds.
struct RowShape {
  int dim = 0;
  int rope_dim = 0;    // of those, the last ones are rotated
  bool index = false;  // an index key: native is then another format
};

// Native rows of keys and values: the dim - rope_dim unrotated values as e4m3, in groups of 64 with
// one power-of-two scale each; then the rotated values as bf16; then the scales as e8m0; then
// zeros up to a multiple of 8 bytes. 448 + 2 * 64 + 7 + 1 = 584 bytes for Flash and Pro.
// Native index keys: Hadamard-transformed, then e2m1 in groups of 32, two a byte, the low nibble
// first; then the scales as e8m0. 64 + 4 = 68 bytes for Flash and Pro.
// Rows in groups of 32: the codes of dim - rope_dim values, the last group filled up (bytes; or
// nibbles, value i of a group low in byte i, value i + 16 high; of q5_* then the fifth bits, 4
// bytes a group); then the scales; then the minima; then the rotated values as bf16. Keys and
// values of heads are kept in tiles of such rows (kv_tile.h), of the same size.
inline constexpr int kE4m3Group = 64;
inline constexpr int kE2m1Group = 32;

struct RowFormatInfo {
  RowFormat format;
  std::string_view name;         // what --kv takes
  std::string_view description;  // for people
  int bits;                      // of a value's code
};

std::span<const RowFormatInfo> row_formats();
/// Whether a code has fewer bits than bf16: the newest and the first rows are worth keeping whole.
bool is_quantized(RowFormat format);
int row_format_bits(RowFormat format);
std::string_view row_format_name(RowFormat format);
std::optional<RowFormat> row_format_from_name(std::string_view name);

/// Bytes of one row, padding included.
size_t row_bytes(RowFormat format, const RowShape& shape);

/// row[0, row_bytes) = the stored form of values [dim].
void encode_row(RowFormat format, const RowShape& shape, const float* values, std::byte* row);

/// values [dim] = what the row stands for; of a native index key, in the Hadamard domain.
void decode_row(RowFormat format, const RowShape& shape, const std::byte* row, float* values);

/// The Walsh-Hadamard transform (Sylvester order) of values [dim] in place, times n^-0.5, over
/// blocks of n = the largest power of two that divides dim. It keeps dot products.
void hadamard(float* values, int dim);

/// Groups of 32 that an index vector of `dim` values has, and values with the last group filled up.
constexpr int index_groups(int dim) {
  return (dim + kE2m1Group - 1) / kE2m1Group;
}
constexpr int index_padded(int dim) {
  return index_groups(dim) * kE2m1Group;
}

/// An index query the way native keys are stored: Hadamard, then e2m1. codes [index_padded(dim)]
/// are twice the e2m1 values (whole numbers from -12 to 12, 0 in the padding); scales
/// [index_groups(dim)] are a quarter of the groups' scales, so that
///   q . k = sum over groups of scales[g] * key_scale[g] * (codes_g . key_codes_g);
/// sums [index_groups(dim)] are those of each group's codes.
void quantize_index_query(const float* values, int dim, int8_t* codes, float* scales,
                          int32_t* sums);

/// Codes of a native index key, as above, and its scales (whole, not a quarter).
void decode_index_key(const std::byte* row, int dim, int8_t* codes, float* scales);

}  // namespace varve
