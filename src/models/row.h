// Where a row of a matrix begins that is stored row by row, without gaps.
#pragma once

#include <cstddef>

namespace varve {

/// Rows of `width` values; also the size of a matrix of `row` rows. In size_t: the product of two
/// ints may leave an int.
inline size_t at(int row, int width) {
  return static_cast<size_t>(row) * static_cast<size_t>(width);
}

}  // namespace varve
