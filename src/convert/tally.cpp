#include "convert/tally.h"

#include <algorithm>
#include <charconv>

namespace varve {
namespace {

// The layer in "layers.12.x" and "blk.12.x"; -1 for other names.
int layer_of(std::string_view name) {
  for (const std::string_view prefix : {"layers.", "model.layers.", "blk."}) {
    int layer = -1;
    if (!name.starts_with(prefix)) continue;
    std::from_chars(name.data() + prefix.size(), name.data() + name.size(), layer);
    return layer;
  }
  return -1;
}

}  // namespace

std::string stored_as(const ModelTensor& tensor) {
  if (!tensor.values.empty()) return "vectors";
  if (!tensor.ids.empty()) return "expert ids";
  std::string types;
  for (const Weight& matrix : tensor.matrices) {
    const std::string_view type = dtype_name(matrix.type);
    if (types.find(type) != types.npos) continue;
    if (!types.empty()) types += " and ";
    types += type;
  }
  return types;
}

void add_to_tally(std::vector<ConvertedTensors>& tally, const std::string& from,
                  const std::string& to, bool exact, size_t bytes) {
  auto at = std::find_if(tally.begin(), tally.end(), [&](const ConvertedTensors& one) {
    return one.from == from && one.to == to;
  });
  if (at == tally.end()) at = tally.insert(tally.end(), {from, to, exact, 0, 0});
  ++at->n;
  at->bytes += bytes;
}

int n_prediction_tensors(const Checkpoint& checkpoint, int n_layers) {
  const auto& tensors = checkpoint.tensors();
  return static_cast<int>(std::count_if(tensors.begin(), tensors.end(), [&](const TensorView& t) {
    return t.name.starts_with("mtp.") || layer_of(t.name) >= n_layers;
  }));
}

}  // namespace varve
