// The header of a safetensors file, from any bytes: an error or views that lie inside them, or
// inside the whole file that a header alone speaks of. Text is an index of shards.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>
#include <vector>

#include "formats/safetensors_header.h"
#include "formats/safetensors_index.h"

namespace {

constexpr size_t kMaxMissingBytes = 1 << 20;

void read_index(std::string_view text) {
  auto root = varve::JsonObject::parse(text, "fuzz.json");
  if (!root) return;
  const auto index = varve::SafetensorsIndex::parse(std::move(*root));
  if (!index) {
    if (index.error().message.empty()) std::abort();
    return;
  }
  if (index->names().empty() || index->names().size() != index->shards().size()) std::abort();
  for (size_t i = 0; i < index->names().size(); ++i) {
    if (!index->lists(index->names()[i]) || index->shards()[i].find('/') != std::string::npos) {
      std::abort();
    }
  }
  const auto total_bytes = index->total_bytes();
  if (!total_bytes && total_bytes.error().message.empty()) std::abort();
}

void read_file(std::span<const std::byte> bytes) {
  const auto file = varve::parse_safetensors(bytes, "fuzz.safetensors");
  if (!file) {
    if (file.error().message.empty()) std::abort();
    return;
  }
  if (varve::safetensors_file_bytes(bytes, "fuzz.safetensors").value() != bytes.size()) {
    std::abort();
  }
  unsigned sum = 0;
  for (const varve::TensorView& tensor : file->tensors) {
    const auto n = static_cast<size_t>(tensor.n_elements());
    if (tensor.bytes.size() != n * varve::dtype_bytes(tensor.type)) std::abort();
    for (const std::byte byte : tensor.bytes) sum += static_cast<unsigned>(byte);
  }
  [[maybe_unused]] volatile unsigned keep = sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (text.starts_with('{')) read_index(text);
  const auto bytes = std::as_bytes(std::span(data, size));
  read_file(bytes);
  const auto whole_bytes = varve::safetensors_file_bytes(bytes, "fuzz.safetensors");
  if (!whole_bytes || *whole_bytes <= size || *whole_bytes - size > kMaxMissingBytes) return 0;
  std::vector<std::byte> whole(bytes.begin(), bytes.end());
  whole.resize(*whole_bytes);
  read_file(whole);
  return 0;
}
