#include "formats/gguf_split.h"

namespace varve {
namespace {

constexpr int kMaxParts = 65535;  // `split.count` has 16 bits

std::string suffix(int part, int n_parts) {
  return fmt::format("-{:05}-of-{:05}.gguf", part + 1, n_parts);
}

}  // namespace

Result<GgufSplit> read_gguf_split(const GgufMetadata& metadata) {
  GgufSplit out;
  VARVE_TRY(const int64_t n_parts, metadata.integer_or("split.count", 1, {0, kMaxParts}));
  if (n_parts <= 1) return out;
  out.n_parts = static_cast<int>(n_parts);
  VARVE_TRY(const int64_t part, metadata.integer("split.no", {0, n_parts - 1}));
  out.part = static_cast<int>(part);
  VARVE_TRY(out.n_tensors, metadata.integer("split.tensors.count", {0, INT64_MAX}));
  return out;
}

Result<std::string> gguf_part_path(const std::string& first_path, int part, int n_parts) {
  const std::string end = suffix(0, n_parts);
  if (!first_path.ends_with(end)) {
    return bad_input("{}: expected the first of {} parts, a file whose name ends with {}",
                     first_path, n_parts, end);
  }
  return first_path.substr(0, first_path.size() - end.size()) + suffix(part, n_parts);
}

}  // namespace varve
