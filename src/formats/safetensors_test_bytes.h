// Safetensors files made by hand, right or wrong, for the tests of this folder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace varve {

/// The length of `header`, `header`, then `n_data` bytes 0, 1, 2, ...
inline std::string safetensors_bytes(std::string_view header, size_t n_data) {
  std::string out(8, '\0');
  for (size_t i = 0; i < 8; ++i) out[i] = static_cast<char>(header.size() >> (8 * i) & 0xff);
  out += header;
  for (size_t i = 0; i < n_data; ++i) out += static_cast<char>(i);
  return out;
}

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace varve
