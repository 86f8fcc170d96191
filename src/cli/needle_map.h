// The map of `varve eval needle`: depth over length, as text and as a picture.
#pragma once

#include <span>
#include <string>

#include "eval/needle.h"

namespace varve::cli {

inline constexpr size_t kMaxMapColumns = 17;  // lengths that fit 80 columns

/// A line a depth, a column a length, the share of right answers in percent; in colour on a
/// terminal, on a ramp from red to green.
std::string needle_table(std::span<const NeedleCell> cells, const NeedleOptions& options,
                         bool in_colour);

std::string needle_svg(std::span<const NeedleCell> cells, const NeedleOptions& options,
                       const std::string& title);

}  // namespace varve::cli
