// The header of a safetensors file, from any bytes: an error or views that lie inside them.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "formats/safetensors_header.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto file = varve::parse_safetensors(bytes, "fuzz.safetensors");
  if (!file) {
    if (file.error().message.empty()) std::abort();
    return 0;
  }
  unsigned sum = 0;
  for (const varve::TensorView& tensor : file->tensors) {
    const auto n = static_cast<size_t>(tensor.n_elements());
    if (tensor.bytes.size() != n * varve::dtype_bytes(tensor.type)) std::abort();
    for (const std::byte byte : tensor.bytes) sum += static_cast<unsigned>(byte);
  }
  [[maybe_unused]] volatile unsigned keep = sum;
  return 0;
}
