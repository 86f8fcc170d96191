// What a conversion says of itself.
#pragma once

#include <string>
#include <vector>

#include "convert/convert.h"
#include "convert/model_tensors.h"
#include "formats/checkpoint.h"

namespace varve {

/// "F8_E4M3", "F8_E4M3 and BF16" for parts that differ, "vectors", "expert ids".
std::string stored_as(const ModelTensor& tensor);

void add_to_tally(std::vector<ConvertedTensors>& tally, const std::string& from,
                  const std::string& to, bool exact, size_t bytes);

/// Tensors of blocks behind the last layer, which predict further tokens.
int n_prediction_tensors(const Checkpoint& checkpoint, int n_layers);

}  // namespace varve
