// The byte alphabet for tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tokenizer/byte_alphabet.h"
#include "tokenizer/utf8.h"

namespace varve {

/// How each byte is spelt.
inline std::vector<std::string> spelt_bytes() {
  std::vector<std::string> spelt(256);
  for (uint32_t c = 0; c < 0x180; ++c) {
    std::string text;
    append_utf8(c, text);
    std::string bytes;
    if (append_spelt_bytes(text, bytes)) spelt[static_cast<unsigned char>(bytes[0])] = text;
  }
  return spelt;
}

}  // namespace varve
