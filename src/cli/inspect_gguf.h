// What a GGUF file says of itself.
#pragma once

#include <nlohmann/json.hpp>

#include "formats/gguf_metadata.h"

namespace varve::cli {

/// Every key with its type and value; long values are cut.
void print_metadata(const GgufMetadata& metadata);
/// The same for --json: numbers, booleans and texts as such; of an array its type and length.
nlohmann::ordered_json metadata_object(const GgufMetadata& metadata);

}  // namespace varve::cli
