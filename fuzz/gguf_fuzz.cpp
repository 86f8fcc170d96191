// A GGUF file, from any bytes: an error, or metadata and views that lie inside them, or inside the
// whole file that a header alone speaks of.
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "formats/gguf.h"
#include "formats/gguf_split.h"

namespace {

unsigned sum_of(std::span<const std::byte> bytes) {
  unsigned sum = 0;
  for (const std::byte byte : bytes) sum += static_cast<unsigned>(byte);
  return sum;
}

unsigned read_value(const varve::GgufValue& value) {
  unsigned sum = sum_of(value.bytes);
  if (value.shown().empty()) std::abort();
  for (size_t i = 0; i < value.n; ++i) {
    if (const auto text = value.string(i)) {
      sum += sum_of(std::as_bytes(std::span(text->data(), text->size())));
    } else if (!value.number(i) && !value.boolean(i) && value.type != varve::GgufType::uint64) {
      std::abort();
    }
  }
  return sum;
}

constexpr size_t kMaxMissingBytes = 1 << 20;

void read_file(std::span<const std::byte> bytes) {
  const auto file = varve::parse_gguf(bytes, "fuzz.gguf");
  if (!file) {
    if (file.error().message.empty()) std::abort();
    return;
  }
  unsigned sum = 0;
  for (const varve::GgufMetadata::Entry& entry : file->metadata.entries()) {
    if (file->metadata.find(entry.key) != &entry.value) std::abort();
    sum += read_value(entry.value);
  }
  const auto split = varve::read_gguf_split(file->metadata);
  if (split && (split->part < 0 || split->part >= split->n_parts)) std::abort();
  for (const varve::TensorView& tensor : file->tensors) {
    const auto n_values = static_cast<size_t>(tensor.n_elements());
    const size_t n = n_values / varve::dtype_values(tensor.type);
    if (n_values % varve::dtype_values(tensor.type) != 0) std::abort();
    if (tensor.bytes.size() != n * varve::dtype_bytes(tensor.type)) std::abort();
    sum += sum_of(tensor.bytes);
  }
  [[maybe_unused]] volatile unsigned keep = sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  read_file(bytes);
  const auto whole_bytes = varve::gguf_file_bytes(bytes, "fuzz.gguf");
  if (!whole_bytes || *whole_bytes <= size || *whole_bytes - size > kMaxMissingBytes) return 0;
  std::vector<std::byte> whole(bytes.begin(), bytes.end());
  whole.resize(*whole_bytes);
  read_file(whole);
  return 0;
}
