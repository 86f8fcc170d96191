#include "chat/jinja/lexer.h"

#include <algorithm>
#include <array>

#include "chat/jinja/text.h"
#include "tokenizer/quote.h"
#include "tokenizer/utf8.h"

namespace varve::jinja {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_name_part(char c) {
  return is_name_start(c) || is_digit(c);
}
bool is_octal(char c) {
  return c >= '0' && c <= '7';
}

// Longer ones first.
constexpr std::array<std::string_view, 26> kOperators = {
    "//", "**", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "(",
    ")",  "[",  "]",  "{",  "}",  "<",  ">", "=", ".", ":", "|", ",", ";"};

// Line ends of any system become \n; one at the end of the template is no part of it.
std::string with_plain_line_ends(std::string_view source) {
  std::string out;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
    } else if (i + 1 == source.size() || source[i + 1] != '\n') {
      out += '\n';
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}
  Result<std::vector<Token>> run();

 private:
  Result<void> outside();
  Result<void> comment();
  Result<void> inside(TokenKind end_kind, std::string_view closing);
  Result<bool> raw_block();
  static bool closes(std::string_view text, std::string_view closing, size_t& n_bytes, bool& strips,
                     bool& keeps_line);
  size_t word_block_bytes(size_t at, std::string_view word, bool& strips, bool& keeps_line) const;
  Result<void> expression_token();
  Result<void> string_token();
  Result<void> escape(std::string& out);
  Result<void> number_token();
  void name_token();
  Result<void> operator_token();

  void add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  std::string_view rest() const { return source_.substr(at_); }
  void advance(size_t n_bytes);
  void skip_space() { advance(rest().size() - strip(rest(), std::nullopt, Side::left).size()); }
  // What is cut off behind a tag: all white space, or the line end behind a block.
  void end_tag(bool strips, bool trims_line_end);
  void add_data(std::string_view text, bool is_block);
  tl::unexpected<Error> unclosed(std::string_view what, int line) const {
    return bad_input("line {}: {} is not closed", line, what);
  }

  std::string_view source_;
  size_t at_ = 0;
  int line_ = 1;
  bool at_line_start_ = true;  // what was read last ended a line
  std::vector<char> brackets_;
  std::vector<Token> tokens_;
};

void Lexer::advance(size_t n_bytes) {
  const std::string_view passed = rest().substr(0, n_bytes);
  line_ += static_cast<int>(std::count(passed.begin(), passed.end(), '\n'));
  at_ += passed.size();
}

void Lexer::end_tag(bool strips, bool trims_line_end) {
  const size_t begin = at_;
  if (strips) {
    skip_space();
  } else if (trims_line_end && rest().starts_with('\n')) {
    advance(1);
  }
  at_line_start_ = at_ > begin && source_[at_ - 1] == '\n';
}

// The text before a tag, whose sign stands at the beginning of rest().
void Lexer::add_data(std::string_view text, bool is_block) {
  const char sign = rest().size() > 2 ? rest()[2] : ' ';
  const size_t line_begin = text.rfind('\n') + 1;  // 0 where there is no line end
  std::string_view kept = text;
  if (sign == '-') {
    kept = strip(text, std::nullopt, Side::right);
  } else if (sign != '+' && is_block && (line_begin > 0 || at_line_start_) &&
             strip(text.substr(line_begin), std::nullopt, Side::left).empty()) {
    kept = text.substr(0, line_begin);
  }
  if (!kept.empty()) add(TokenKind::data, std::string(kept));
}

Result<void> Lexer::comment() {
  const int begin_line = line_;
  const size_t end = source_.find("#}", at_ + 2);
  if (end == source_.npos) return unclosed("a comment", begin_line);
  // The sign of the end may not be that of the beginning.
  const char sign = end > at_ + 2 ? source_[end - 1] : ' ';
  advance(end + 2 - at_);
  end_tag(sign == '-', sign != '+');
  return {};
}

Result<void> Lexer::outside() {
  size_t tag = at_;
  while ((tag = source_.find('{', tag)) != source_.npos) {
    const char next = tag + 1 < source_.size() ? source_[tag + 1] : ' ';
    if (next == '{' || next == '%' || next == '#') break;
    ++tag;
  }
  if (tag == source_.npos) {
    if (at_ < source_.size()) add(TokenKind::data, std::string(rest()));
    at_ = source_.size();
    return {};
  }
  const std::string_view before = source_.substr(at_, tag - at_);
  const int line_before = line_;
  advance(before.size());
  const char kind = source_[at_ + 1];
  const int line_of_tag = line_;
  line_ = line_before;
  add_data(before, kind != '{');
  line_ = line_of_tag;
  if (kind == '#') return comment();
  const bool has_sign = rest().size() > 2 && (rest()[2] == '-' || rest()[2] == '+');
  if (kind == '%') {
    VARVE_TRY(const bool was_raw, raw_block());
    if (was_raw) return {};
  }
  add(kind == '{' ? TokenKind::variable_begin : TokenKind::block_begin, "");
  advance(has_sign ? 3 : 2);
  return kind == '{' ? inside(TokenKind::variable_end, "}}") : inside(TokenKind::block_end, "%}");
}

// Whether a tag ends where `text` begins: how many bytes that takes, and what its sign says.
bool Lexer::closes(std::string_view text, std::string_view closing, size_t& n_bytes, bool& strips,
                   bool& keeps_line) {
  const bool has_minus = text.starts_with('-') && text.substr(1).starts_with(closing);
  const bool has_plus =
      closing == "%}" && text.starts_with('+') && text.substr(1).starts_with(closing);
  if (!has_minus && !has_plus && !text.starts_with(closing)) return false;
  n_bytes = closing.size() + (has_minus || has_plus ? 1 : 0);
  strips = has_minus;
  keeps_line = has_plus;
  return true;
}

// Bytes of a block at `at` that is nothing but `word`; 0 where there is none.
size_t Lexer::word_block_bytes(size_t at, std::string_view word, bool& strips,
                               bool& keeps_line) const {
  const bool has_sign =
      at + 2 < source_.size() && (source_[at + 2] == '-' || source_[at + 2] == '+');
  std::string_view text = source_.substr(at + (has_sign ? 3 : 2));
  text = strip(text, std::nullopt, Side::left);
  if (!text.starts_with(word)) return 0;
  text = strip(text.substr(word.size()), std::nullopt, Side::left);
  size_t n_bytes = 0;
  if (!closes(text, "%}", n_bytes, strips, keeps_line)) return 0;
  return source_.size() - at - text.size() + n_bytes;
}

// {% raw %} up to {% endraw %}: text as it stands.
Result<bool> Lexer::raw_block() {
  const int begin_line = line_;
  bool strips = false;
  bool keeps_line = false;
  const size_t opening_bytes = word_block_bytes(at_, "raw", strips, keeps_line);
  if (opening_bytes == 0) return false;
  advance(opening_bytes);
  end_tag(strips, !keeps_line);
  const size_t begin = at_;
  for (size_t tag = begin; (tag = source_.find("{%", tag)) != source_.npos; tag += 2) {
    const size_t closing_bytes = word_block_bytes(tag, "endraw", strips, keeps_line);
    if (closing_bytes == 0) continue;
    const std::string_view text = source_.substr(begin, tag - begin);
    advance(tag - at_);
    add_data(text, true);
    advance(closing_bytes);
    end_tag(strips, !keeps_line);
    return true;
  }
  return unclosed("{% raw %}", begin_line);
}

Result<void> Lexer::inside(TokenKind end_kind, std::string_view closing) {
  const int begin_line = line_;
  brackets_.clear();
  while (true) {
    skip_space();
    if (at_ == source_.size()) {
      return unclosed(end_kind == TokenKind::block_end ? "{%" : "{{", begin_line);
    }
    size_t n_bytes = 0;
    bool strips = false;
    bool keeps_line = false;
    // Inside brackets "}}" closes two of them.
    if (brackets_.empty() && closes(rest(), closing, n_bytes, strips, keeps_line)) {
      add(end_kind, "");
      advance(n_bytes);
      end_tag(strips, end_kind == TokenKind::block_end && !keeps_line);
      return {};
    }
    VARVE_CHECKED(expression_token());
  }
}

Result<void> Lexer::expression_token() {
  const char c = rest()[0];
  if (c == '"' || c == '\'') return string_token();
  if (is_digit(c)) return number_token();
  if (!is_name_start(c)) return operator_token();
  name_token();
  return {};
}

void Lexer::name_token() {
  size_t n = 1;
  while (n < rest().size() && is_name_part(rest()[n])) ++n;
  add(TokenKind::name, std::string(rest().substr(0, n)));
  advance(n);
}

// Digits with single underscores between them; a fraction or an exponent makes a float.
Result<void> Lexer::number_token() {
  const std::string_view text = rest();
  size_t n = 0;
  std::string digits;
  const auto take_digits = [&] {
    while (n < text.size() && (is_digit(text[n]) ||
                               (text[n] == '_' && n + 1 < text.size() && is_digit(text[n + 1])))) {
      if (text[n] != '_') digits += text[n];
      ++n;
    }
  };
  take_digits();
  bool is_float = false;
  if (n + 1 < text.size() && text[n] == '.' && is_digit(text[n + 1])) {
    is_float = true;
    digits += text[n++];
    take_digits();
  }
  if (n < text.size() && (text[n] == 'e' || text[n] == 'E')) {
    const size_t sign = n + 1 < text.size() && (text[n + 1] == '-' || text[n + 1] == '+') ? 1 : 0;
    if (n + 1 + sign < text.size() && is_digit(text[n + 1 + sign])) {
      is_float = true;
      digits += text.substr(n, 1 + sign);
      n += 1 + sign;
      take_digits();
    }
  }
  if (n < text.size() && is_name_start(text[n])) {
    return bad_input("line {}: expected a decimal number, found {}", line_,
                     in_quotes(text.substr(0, n + 1)));
  }
  add(is_float ? TokenKind::floating : TokenKind::integer, std::move(digits));
  advance(n);
  return {};
}

// The escapes of Python's string literals; others stay as they are.
Result<void> Lexer::escape(std::string& out) {
  advance(1);
  const char c = rest()[0];
  constexpr std::string_view kNames = "abfnrtv\\'\"";
  constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v\\'\"";
  if (const size_t i = kNames.find(c); i != kNames.npos) {
    out += kMeanings[i];
    advance(1);
    return {};
  }
  if (c == '\n') {  // a line that goes on
    advance(1);
    return {};
  }
  const size_t max_digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : is_octal(c) ? 3 : 0;
  if (max_digits == 0) {
    out += '\\';
    return {};
  }
  const bool octal = is_octal(c);
  size_t n = octal ? 0 : 1;
  uint32_t code = 0;
  const size_t end = n + max_digits;
  for (; n < end && n < rest().size(); ++n) {
    const char digit = rest()[n];
    const size_t value = std::string_view("0123456789abcdef")
                             .find(static_cast<char>(digit | (digit >= 'A' ? 0x20 : 0)));
    if (value == std::string_view::npos || (octal && value > 7)) break;
    code = code * (octal ? 8 : 16) + static_cast<uint32_t>(value);
  }
  if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000) || (!octal && n < end)) {
    return bad_input("line {}: expected an escaped character, found {}", line_,
                     in_quotes("\\" + std::string(rest().substr(0, n))));
  }
  append_utf8(code, out);
  advance(n);
  return {};
}

Result<void> Lexer::string_token() {
  const char quote = rest()[0];
  const int begin_line = line_;
  advance(1);
  std::string value;
  while (!rest().empty() && rest()[0] != quote) {
    if (rest()[0] == '\\' && rest().size() > 1) {
      VARVE_CHECKED(escape(value));
      continue;
    }
    value += rest()[0];
    advance(1);
  }
  if (rest().empty()) return unclosed("a string", begin_line);
  advance(1);
  tokens_.push_back({TokenKind::string, std::move(value), begin_line});
  return {};
}

Result<void> Lexer::operator_token() {
  const auto* const found =
      std::find_if(kOperators.begin(), kOperators.end(),
                   [&](std::string_view op) { return rest().starts_with(op); });
  if (found == kOperators.end()) {
    return bad_input("line {}: unexpected character {}", line_,
                     in_quotes(rest().substr(0, utf8_step(rest()).n_bytes)));
  }
  const char c = (*found)[0];
  if (c == '(' || c == '[' || c == '{') brackets_.push_back(c);
  if (c == ')' || c == ']' || c == '}') {
    const char opening = c == ')' ? '(' : c == ']' ? '[' : '{';
    if (brackets_.empty() || brackets_.back() != opening) {
      return bad_input("line {}: `{}` closes nothing", line_, c);
    }
    brackets_.pop_back();
  }
  add(TokenKind::op, std::string(*found));
  advance(found->size());
  return {};
}

Result<std::vector<Token>> Lexer::run() {
  while (at_ < source_.size()) VARVE_CHECKED(outside());
  add(TokenKind::end, "");
  return std::move(tokens_);
}

}  // namespace

Result<std::vector<Token>> tokenize(std::string_view source) {
  if (!is_utf8(source)) return bad_input("the template is not UTF-8");
  const std::string text = with_plain_line_ends(source);
  return Lexer(text).run();
}

}  // namespace varve::jinja
