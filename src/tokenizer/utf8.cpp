#include "tokenizer/utf8.h"

#include <cstring>

namespace varve {
namespace {

// Bytes from the start of `bytes` that are ASCII, counted eight at a time.
size_t ascii_prefix_bytes(std::string_view bytes) {
  size_t i = 0;
  while (i + 8 <= bytes.size()) {
    uint64_t eight = 0;
    std::memcpy(&eight, bytes.data() + i, 8);
    if ((eight & 0x8080808080808080ull) != 0) break;
    i += 8;
  }
  while (i < bytes.size() && static_cast<unsigned char>(bytes[i]) < 0x80) ++i;
  return i;
}

}  // namespace

Utf8Step utf8_step(std::string_view bytes) {
  using Kind = Utf8Step::Kind;
  const auto at = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const uint32_t lead = at(0);
  if (lead < 0x80) return {Kind::character, 1, lead};
  if (lead < 0xC2 || lead > 0xF4) return {Kind::broken, 1, 0};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte excludes overlong forms, surrogates and what lies above U+10FFFF.
  uint32_t low = 0x80;
  uint32_t high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  uint32_t code_point = lead & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return {Kind::unfinished, i, 0};
    if (at(i) < low || at(i) > high) return {Kind::broken, i, 0};
    code_point = (code_point << 6) | (at(i) & 0x3Fu);
    low = 0x80;
    high = 0xBF;
  }
  return {Kind::character, length, code_point};
}

bool is_utf8(std::string_view bytes) {
  while (true) {
    bytes.remove_prefix(ascii_prefix_bytes(bytes));
    if (bytes.empty()) return true;
    const Utf8Step step = utf8_step(bytes);
    if (step.kind != Utf8Step::Kind::character) return false;
    bytes.remove_prefix(step.n_bytes);
  }
}

void append_lossy(std::string_view bytes, std::string& held, std::string& out) {
  // Finish what is held, a byte at a time: it takes at most three, or breaks.
  while (!held.empty() && !bytes.empty()) {
    held.push_back(bytes.front());
    const Utf8Step step = utf8_step(held);
    if (step.kind == Utf8Step::Kind::broken) {
      // The new byte does not belong to the sequence: it is looked at again, on its own.
      out.append(kReplacementCharacter);
      held.clear();
      break;
    }
    bytes.remove_prefix(1);
    if (step.kind == Utf8Step::Kind::character) {
      out.append(held);
      held.clear();
    }
  }
  while (!bytes.empty()) {
    const size_t n_ascii = ascii_prefix_bytes(bytes);
    out.append(bytes.substr(0, n_ascii));
    bytes.remove_prefix(n_ascii);
    if (bytes.empty()) return;
    const Utf8Step step = utf8_step(bytes);
    if (step.kind == Utf8Step::Kind::unfinished) {
      held.assign(bytes);
      return;
    }
    if (step.kind == Utf8Step::Kind::broken) {
      out.append(kReplacementCharacter);
    } else {
      out.append(bytes.substr(0, step.n_bytes));
    }
    bytes.remove_prefix(step.n_bytes);
  }
}

void finish_lossy(std::string& held, std::string& out) {
  if (!held.empty()) out.append(kReplacementCharacter);
  held.clear();
}

void append_utf8(uint32_t code_point, std::string& out) {
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | (code_point >> 6));
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | (code_point >> 12));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | (code_point >> 18));
    put(0x80 | ((code_point >> 12) & 0x3F));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

bool is_white_space(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

size_t leading_white_space_bytes(std::string_view text) {
  size_t n = 0;
  while (n < text.size()) {
    const Utf8Step step = utf8_step(text.substr(n));
    if (step.kind != Utf8Step::Kind::character || !is_white_space(step.code_point)) break;
    n += step.n_bytes;
  }
  return n;
}

size_t trailing_white_space_bytes(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    const std::string_view last = last_character(text.substr(0, end));
    if (!is_white_space(utf8_step(last).code_point)) break;
    end -= last.size();
  }
  return text.size() - end;
}

std::string_view last_character(std::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return text.substr(at);
}

}  // namespace varve
