// How one row of the cache is stored. Formats are data: everything that sizes, names or describes a
// row reads this table (docs/formats/rows.md gives the bytes).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace varve {

enum class RowFormat : uint8_t {
  f32,  // values as computed: the reference numerics
};

struct RowFormatInfo {
  RowFormat format;
  std::string_view name;         // what --kv takes
  std::string_view description;  // for people
  /// Bytes of a row of `dim` values, the last `rope_dim` of which are rotated.
  size_t (*row_bytes)(int dim, int rope_dim);
};

const RowFormatInfo& row_format_info(RowFormat format);

/// The format of each pool of the cache.
struct PoolFormats {
  RowFormat window = RowFormat::f32;
  RowFormat csa = RowFormat::f32;
  RowFormat hca = RowFormat::f32;
  RowFormat index = RowFormat::f32;
};

}  // namespace varve
