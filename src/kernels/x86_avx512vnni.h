// Index scores over native keys by the byte dot instruction of AVX512-VNNI.
#pragma once

#include "kernels/kernels.h"

namespace varve {

/// An index_scores_native; null where this machine has no such instruction.
///
/// Keys lie across the lanes: a tile of 32 is unpacked to bytes once and meets all heads. The dots
/// of a group are whole numbers, so they are the same in any order; scales, groups and heads follow
/// one another as IndexScoresNativeArgs says, in every lane by itself.
auto avx512vnni_index_scores() -> void (*)(const IndexScoresNativeArgs&);

}  // namespace varve
