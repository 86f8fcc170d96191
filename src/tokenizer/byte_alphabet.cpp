#include "tokenizer/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "tokenizer/utf8.h"

namespace varve {
namespace {

constexpr uint32_t kFirstMoved = 0x100;
constexpr size_t kNumMoved = 68;

constexpr bool stands_for_itself(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
}

// Byte that U+0100 + i stands for.
constexpr std::array<uint8_t, kNumMoved> moved_bytes() {
  std::array<uint8_t, kNumMoved> table{};
  size_t n = 0;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    if (!stands_for_itself(byte)) table[n++] = static_cast<uint8_t>(byte);
  }
  return table;
}

constexpr std::array<uint8_t, kNumMoved> kMoved = moved_bytes();

}  // namespace

bool append_spelt_bytes(std::string_view spelt, std::string& bytes) {
  const size_t before = bytes.size();
  while (!spelt.empty()) {
    const Utf8Step step = utf8_step(spelt);
    const uint32_t c = step.code_point;
    if (step.kind == Utf8Step::Kind::character && c < 0x100 && stands_for_itself(c)) {
      bytes.push_back(static_cast<char>(c));
    } else if (step.kind == Utf8Step::Kind::character && c >= kFirstMoved &&
               c < kFirstMoved + kNumMoved) {
      bytes.push_back(static_cast<char>(kMoved[c - kFirstMoved]));
    } else {
      bytes.resize(before);
      return false;
    }
    spelt.remove_prefix(step.n_bytes);
  }
  return true;
}

}  // namespace varve
