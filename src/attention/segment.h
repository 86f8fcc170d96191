// A batch is a run of tokens of one or more sequences, laid end to end.
#pragma once

#include "kvcache/cache.h"

namespace varve {

/// Rows [first, first + n) of the batch continue `sequence`: row first + i is the token at position
/// start + i. The sequence has room reserved for them; they are committed after the forward pass.
struct Segment {
  Sequence* sequence;
  int first;
  int n;
  int start;  // == sequence->n_tokens()
};

}  // namespace varve
