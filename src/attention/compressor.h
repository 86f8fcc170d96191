// Compression along the sequence (spec 5): `ratio` tokens become one entry.
//
// Every token leaves an input row [kv | score] (scores with the position bias added). An entry is a
// softmax over slots, each channel by itself. Where windows overlap (CSA), a row is twice as wide:
// its first half serves the next entry, its second half its own.
#pragma once

#include "attention/rope.h"
#include "attention/segment.h"
#include "kernels/exec.h"

namespace varve {

/// The learned part of one compressor, and its shape.
struct Compressor {
  int ratio = 0;
  int dim = 0;                           // values of an entry
  bool overlap = false;                  // CSA
  const float* position_bias = nullptr;  // [ratio, width()]
  const float* norm = nullptr;           // [dim]

  int width() const { return overlap ? 2 * dim : dim; }
};

/// Which of a layer's two compressed rows a compressor fills.
enum class CompressedRow { entry, index_key };

/// Adds the position bias to the scores of the segment's input rows, [n, 2 * width].
void add_position_bias(Exec& exec, const Compressor& compressor, const Segment& segment,
                       float* inputs);

/// Writes every entry that the segment's tokens close: pooled, normed, rotated at the position of
/// its first own token. `inputs` are the segment's rows; earlier ones come from the sequence.
void close_entries(Exec& exec, const Compressor& compressor, const Segment& segment, int layer,
                   CompressedRow row, const float* inputs, const Rope& rope, float rms_eps);

/// Keeps the input rows that later entries need.
void keep_inputs(const Compressor& compressor, const Segment& segment, int layer, CompressedRow row,
                 const float* inputs);

}  // namespace varve
