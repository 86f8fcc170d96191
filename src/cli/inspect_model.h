// What `varve inspect` says of a model's shape, family by family.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "models/model.h"

namespace varve::cli {

/// Sizes and the strip of layers, for a terminal of 80 columns.
void print_model(const Model& model, const std::string& path);

/// The field "config" of `inspect --json`.
nlohmann::ordered_json config_object(const Model& model);

/// Text from a file in one line of the terminal: its last `width` bytes, nothing unprintable.
std::string fitted(std::string text, size_t width);

}  // namespace varve::cli
