// UTF-8 with its errors: where a sequence breaks and what stands in for the broken part.
//
// The rule is that of the Unicode standard (3.9, "substitution of maximal subparts"), which lossy
// decoders of other languages follow too: each longest prefix of a well-formed sequence that is
// cut short, and each byte that can start nothing, becomes one U+FFFD.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace varve {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

struct Utf8Step {
  enum class Kind { character, broken, unfinished } kind;
  size_t n_bytes;       // of the character, or of the broken or unfinished part; 1 to 4
  uint32_t code_point;  // of a character
};

/// Looks at the start of `bytes`, which must not be empty. `unfinished`: all of `bytes` is a proper
/// prefix of a well-formed sequence.
Utf8Step utf8_step(std::string_view bytes);

bool is_utf8(std::string_view bytes);

/// Appends `bytes` to `out` with U+FFFD for broken parts. `held` carries an unfinished sequence
/// from one call to the next (empty at first).
void append_lossy(std::string_view bytes, std::string& held, std::string& out);

/// Appends one U+FFFD if a sequence is unfinished, and forgets it.
void finish_lossy(std::string& held, std::string& out);

void append_utf8(uint32_t code_point, std::string& out);

/// The property White_Space.
bool is_white_space(uint32_t code_point);

/// Bytes of white space at the start, or at the end, of well-formed UTF-8.
size_t leading_white_space_bytes(std::string_view text);
size_t trailing_white_space_bytes(std::string_view text);

/// The last character of well-formed UTF-8; `text` must not be empty.
std::string_view last_character(std::string_view text);

}  // namespace varve
