#include "kvcache/row_format.h"

#include <array>

namespace varve {
namespace {

size_t f32_row_bytes(int dim, int /*rope_dim*/) {
  return static_cast<size_t>(dim) * sizeof(float);
}

constexpr std::array kFormats = {
    RowFormatInfo{RowFormat::f32, "f32", "32-bit floats, no rounding", f32_row_bytes},
};

}  // namespace

const RowFormatInfo& row_format_info(RowFormat format) {
  return kFormats[static_cast<size_t>(format)];
}

}  // namespace varve
