// GGUF files made by hand, right or wrong, for the tests of this folder.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "formats/gguf_metadata.h"

namespace varve {

/// The bytes of numbers, little-endian.
template <class T>
std::string bytes_of(T value) {
  static_assert(std::is_arithmetic_v<T>);
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

/// As GGUF stores text: its length, then itself.
inline std::string gguf_text(std::string_view text) {
  return bytes_of<uint64_t>(text.size()) + std::string(text);
}

/// Puts a file together piece by piece; nothing is checked.
class GgufBytes {
 public:
  uint32_t version = 3;
  size_t alignment = 32;

  GgufBytes& entry(std::string_view key, GgufType type, const std::string& value) {
    return raw_entry(gguf_text(key) + bytes_of(static_cast<uint32_t>(type)) + value);
  }
  GgufBytes& entry(std::string_view key, std::string_view text) {
    return entry(key, GgufType::string, gguf_text(text));
  }
  GgufBytes& array(std::string_view key, GgufType type, const std::vector<std::string>& elements) {
    std::string value = bytes_of(static_cast<uint32_t>(type)) + bytes_of<uint64_t>(elements.size());
    for (const std::string& element : elements) value += element;
    return entry(key, GgufType::array, value);
  }
  GgufBytes& raw_entry(const std::string& bytes) {
    entries_ += bytes;
    ++n_entries_;
    return *this;
  }

  /// `extents`: ne0 first, as in the file.
  GgufBytes& tensor(std::string_view name, const std::vector<uint64_t>& extents, uint32_t type,
                    uint64_t offset) {
    tensors_ += gguf_text(name) + bytes_of(static_cast<uint32_t>(extents.size()));
    for (const uint64_t extent : extents) tensors_ += bytes_of(extent);
    tensors_ += bytes_of(type) + bytes_of(offset);
    ++n_tensors_;
    return *this;
  }

  /// The file, with `n_data` bytes 0, 1, 2, ... of data.
  std::string file(size_t n_data) const {
    std::string out = "GGUF" + bytes_of(version) + bytes_of(n_tensors_) + bytes_of(n_entries_) +
                      entries_ + tensors_;
    if (n_data == 0) return out;
    while (out.size() % alignment != 0) out += '\0';
    for (size_t i = 0; i < n_data; ++i) out += static_cast<char>(i);
    return out;
  }

 private:
  std::string entries_, tensors_;
  uint64_t n_entries_ = 0, n_tensors_ = 0;
};

}  // namespace varve
