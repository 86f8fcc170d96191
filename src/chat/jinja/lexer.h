// A template's text to tokens, as jinja2 reads it with trim_blocks and lstrip_blocks: the line end
// behind a block goes, and so does the white space before one that begins its line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace varve::jinja {

enum class TokenKind {
  data,            // text outside of tags
  variable_begin,  // {{
  variable_end,
  block_begin,  // {%
  block_end,
  name,
  string,  // its value, escapes resolved
  integer,
  floating,
  op,
  end,  // of the template
};

struct Token {
  TokenKind kind;
  std::string text;
  int line;

  bool is(TokenKind wanted, std::string_view spelling) const {
    return kind == wanted && text == spelling;
  }
};

/// Errors say the line: an unclosed tag, comment, string or bracket, an unknown character.
/// `source` has to be UTF-8. The last token is `end`.
Result<std::vector<Token>> tokenize(std::string_view source);

}  // namespace varve::jinja
