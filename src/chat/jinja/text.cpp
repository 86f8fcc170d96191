#include "chat/jinja/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <iterator>

#include "tokenizer/regex.h"
#include "tokenizer/utf8.h"

namespace varve::jinja {
namespace {

// Of find_text.
constexpr size_t kWindowBytes = 4096;

bool is_upper_ascii(char c) {
  return c >= 'A' && c <= 'Z';
}
bool is_lower_ascii(char c) {
  return c >= 'a' && c <= 'z';
}
bool is_letter_ascii(char c) {
  return is_upper_ascii(c) || is_lower_ascii(c);
}
char to_upper(char c) {
  return is_lower_ascii(c) ? static_cast<char>(c - 'a' + 'A') : c;
}
char to_lower(char c) {
  return is_upper_ascii(c) ? static_cast<char>(c - 'A' + 'a') : c;
}

// A pattern of this file always compiles.
Regex compiled(std::string_view pattern) {
  return std::move(Regex::compile_native(pattern, "chat/jinja")).value();
}

bool matches(const Regex& regex, std::string_view text) {
  RegexScratch scratch(text.size());
  return regex.search(text, 0, scratch).outcome != Regex::Outcome::no_match;
}

// Case beyond ASCII needs tables that varve does not have.
Result<void> check_case_known(std::string_view text) {
  static const Regex cased = compiled("(?![\\x00-\\x7f])[\\p{Lu}\\p{Ll}\\p{Lt}]");
  const bool is_ascii = std::all_of(text.begin(), text.end(),
                                    [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (is_ascii || !matches(cased, text)) return {};
  return bad_input("upper and lower case are known for ASCII letters only");
}

// What repr() shows as it is: all but the categories C and Z of Unicode.
bool is_printable(std::string_view character) {
  static const Regex hidden = compiled("[\\p{C}\\p{Z}]");
  return character == " " || !matches(hidden, character);
}

// Makes each character from its own and whether it begins a word.
template <class BeginsWord>
Result<std::string> capitals(std::string_view text, BeginsWord begins_word) {
  VARVE_CHECKED(check_case_known(text));
  std::string out(text);
  for (size_t i = 0; i < text.size(); ++i) {
    out[i] = begins_word(i) ? to_upper(text[i]) : to_lower(text[i]);
  }
  return out;
}

uint32_t code_point(std::string_view character) {
  return utf8_step(character).code_point;
}

}  // namespace

size_t n_characters(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

size_t byte_of_character(std::string_view text, size_t n) {
  size_t at = 0;
  for (; n > 0 && at < text.size(); --n) at += utf8_step(text.substr(at)).n_bytes;
  return at;
}

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const size_t n = utf8_step(text).n_bytes;
    out.push_back(text.substr(0, n));
    text.remove_prefix(n);
  }
  return out;
}

bool is_space(uint32_t c) {
  return is_white_space(c) || (c >= 0x1C && c <= 0x1F);
}

std::string_view strip(std::string_view text, std::optional<std::string_view> chars, Side side) {
  const auto goes = [&](std::string_view character) {
    return chars ? chars->find(character) != chars->npos : is_space(code_point(character));
  };
  while (side != Side::right && !text.empty()) {
    const size_t n = utf8_step(text).n_bytes;
    if (!goes(text.substr(0, n))) break;
    text.remove_prefix(n);
  }
  while (side != Side::left && !text.empty()) {
    const std::string_view last = last_character(text);
    if (!goes(last)) break;
    text.remove_suffix(last.size());
  }
  return text;
}

size_t find_text(std::string_view text, std::string_view part, size_t from) {
  if (from > text.size()) return text.npos;
  if (part.empty()) return from;
  // Window by window: sanitizers look, at each call, at all that memmem may read.
  const size_t window = std::max(kWindowBytes, part.size());
  for (size_t at = from; at + part.size() <= text.size(); at += window) {
    const size_t n_bytes = std::min(window + part.size() - 1, text.size() - at);
    const void* const found = memmem(text.data() + at, n_bytes, part.data(), part.size());
    if (found != nullptr) return static_cast<size_t>(static_cast<const char*>(found) - text.data());
  }
  return text.npos;
}

Result<std::string> upper(std::string_view text) {
  return capitals(text, [](size_t) { return true; });
}

Result<std::string> lower(std::string_view text) {
  return capitals(text, [](size_t) { return false; });
}

Result<std::string> capitalize(std::string_view text) {
  return capitals(text, [](size_t i) { return i == 0; });
}

Result<std::string> title(std::string_view text) {
  return capitals(text, [&](size_t i) { return i == 0 || !is_letter_ascii(text[i - 1]); });
}

Result<std::string> title_words(std::string_view text) {
  return capitals(text, [&](size_t i) {
    if (i == 0) return true;
    const std::string_view before = last_character(text.substr(0, i));
    return std::string_view("-({[<").find(before) != std::string_view::npos ||
           is_space(code_point(before));
  });
}

std::string text_repr(std::string_view text) {
  const bool has_single = text.find('\'') != text.npos;
  const char quote = has_single && text.find('"') == text.npos ? '"' : '\'';
  std::string out(1, quote);
  for (const std::string_view character : characters(text)) {
    const uint32_t c = code_point(character);
    if (character == "\\" || character[0] == quote) {
      out += '\\';
      out += character;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c >= 0x20 && c < 0x7F) {
      out += character;
    } else if (is_printable(character)) {
      out += character;
    } else if (c < 0x100) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", c);
    } else if (c < 0x10000) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", c);
    } else {
      fmt::format_to(std::back_inserter(out), "\\U{:08x}", c);
    }
  }
  return out + quote;
}

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  // The shortest digits that read back the same; Python writes an exponent from 1e16 on and
  // below 1e-4.
  const double size = std::abs(value);
  const bool plain = size == 0 || (size >= 1e-4 && size < 1e16);
  std::array<char, 64> buffer;
  const auto [end, error] =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                    plain ? std::chars_format::fixed : std::chars_format::scientific);
  static_cast<void>(error);  // 64 characters hold either
  std::string out(buffer.data(), end);
  if (plain && out.find('.') == out.npos) out += ".0";
  return out;
}

}  // namespace varve::jinja
