#include "cli/inspect_gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "cli/inspect_model.h"

namespace varve::cli {
namespace {

using nlohmann::ordered_json;

std::string type_text(const GgufValue& value) {
  return value.is_array ? fmt::format("{} [{}]", gguf_type_name(value.type), value.n)
                        : std::string(gguf_type_name(value.type));
}

ordered_json value_json(const GgufValue& value) {
  if (value.is_array) return {{"type", gguf_type_name(value.type)}, {"length", value.n}};
  if (const auto text = value.string()) return *text;
  if (const auto flag = value.boolean()) return *flag;
  if (const auto whole = value.integer()) return *whole;
  const auto number = value.number();
  if (number && std::isfinite(*number)) return *number;
  return value.shown();
}

}  // namespace

void print_metadata(const GgufMetadata& metadata) {
  fmt::print("\nGGUF version {}, {} metadata keys\n", metadata.version(),
             metadata.entries().size());
  constexpr size_t kMaxKeyWidth = 56;
  size_t width = 0;
  for (const auto& [key, value] : metadata.entries()) width = std::max(width, key.size());
  width = std::min(width, kMaxKeyWidth);
  for (const auto& [key, value] : metadata.entries()) {
    fmt::print("  {:<{}}  {:<16}{}\n", fitted(std::string(key), width), width, type_text(value),
               value.is_array ? std::string() : value.shown());
  }
}

ordered_json metadata_object(const GgufMetadata& metadata) {
  ordered_json values = ordered_json::object();
  for (const auto& [key, value] : metadata.entries()) values[std::string(key)] = value_json(value);
  return {{"version", metadata.version()}, {"metadata", values}};
}

}  // namespace varve::cli
