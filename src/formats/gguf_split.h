// GGUF files in parts: NAME-00001-of-00003.gguf and so on, each a whole GGUF file with some of the
// tensors; the metadata of the model is in the first.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "formats/gguf_metadata.h"

namespace varve {

/// Where a file stands among the parts.
struct GgufSplit {
  int part = 0;  // from 0
  int n_parts = 1;
  int64_t n_tensors = 0;  // of all parts; says nothing where there is one part
};

/// `split.no`, `split.count` and `split.tensors.count`; a file without them is the only part.
Result<GgufSplit> read_gguf_split(const GgufMetadata& metadata);

/// The path of part `part` (from 0), given that of the first. Refuses a name that does not end as
/// that of the first of `n_parts` does.
Result<std::string> gguf_part_path(const std::string& first_path, int part, int n_parts);

}  // namespace varve
