#include "chat/python_strings.h"

#include <algorithm>
#include <cstdint>

#include "tokenizer/utf8.h"

namespace varve {
namespace {

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

// How a literal begins: r"..., u'''...
struct Opening {
  std::string_view prefix;
  std::string_view quotes;  // one or three
  bool has(char letter) const {
    return prefix.find_first_of(std::string{letter, static_cast<char>(letter - 32)}) != prefix.npos;
  }
};

class Module {
 public:
  Module(std::string_view source, const std::string& file) : source_(source), file_(file) {}

  Result<std::optional<std::string>> find(std::string_view name);

 private:
  std::string_view rest() const { return source_.substr(at_); }
  bool is_over() const { return at_ >= source_.size(); }
  bool take(std::string_view text) {
    if (!rest().starts_with(text)) return false;
    at_ += text.size();
    return true;
  }
  template <class... Args>
  tl::unexpected<Error> wrong(fmt::format_string<Args...> format, Args&&... args) const {
    const auto line =
        1 + std::count(source_.begin(),
                       source_.begin() + static_cast<std::ptrdiff_t>(std::min(at_, source_.size())),
                       '\n');
    return bad_input("{}: line {}: {}", file_, line,
                     fmt::format(format, std::forward<Args>(args)...));
  }

  void skip_comment() { at_ = std::min(source_.find('\n', at_), source_.size()); }
  /// Spaces, escaped ends of lines and, inside parentheses, all of them with comments.
  void skip_space(bool in_parentheses);
  /// NAME [: TYPE] = or NAME +=, at the beginning of a line; behind it. False: nothing was taken.
  bool take_assignment(std::string_view name);
  std::optional<Opening> opening() const;
  /// `is_raw`: escapes stay as they are.
  Result<std::string> literal(const Opening& opening, bool is_raw);
  Result<void> escape(std::string& out);
  Result<uint32_t> digits(size_t n, uint32_t base);
  Result<std::string> value();

  std::string_view source_;
  const std::string& file_;
  size_t at_ = 0;
  bool adds_ = false;  // the assignment that was taken
};

void Module::skip_space(bool in_parentheses) {
  while (!is_over()) {
    const char c = source_[at_];
    if (c == ' ' || c == '\t' || (in_parentheses && (c == '\n' || c == '\r'))) {
      ++at_;
    } else if (c == '#' && in_parentheses) {
      skip_comment();
    } else if (!take("\\\n") && !take("\\\r\n")) {
      return;
    }
  }
}

std::optional<Opening> Module::opening() const {
  const std::string_view text = rest().substr(0, 5);
  const size_t quote = text.find_first_of("'\"");
  if (quote == text.npos || quote > 2) return std::nullopt;
  const std::string_view prefix = text.substr(0, quote);
  if (prefix.find_first_not_of("rRuUbBfF") != prefix.npos) return std::nullopt;
  const std::string_view tail = text.substr(quote);
  const bool is_triple = tail.size() >= 3 && tail[1] == tail[0] && tail[2] == tail[0];
  return Opening{prefix, tail.substr(0, is_triple ? 3 : 1)};
}

Result<uint32_t> Module::digits(size_t n, uint32_t base) {
  uint32_t value = 0;
  for (size_t i = 0; i < n; ++i) {
    const size_t digit = is_over() ? std::string_view::npos
                                   : std::string_view("0123456789abcdefABCDEF").find(source_[at_]);
    if (digit == std::string_view::npos) return wrong("an escape has too few digits");
    value = value * base + static_cast<uint32_t>(digit < 16 ? digit : digit - 6);
    ++at_;
  }
  if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) {
    return wrong("an escape is not a character");
  }
  return value;
}

// Behind the backslash.
Result<void> Module::escape(std::string& out) {
  if (take("\r\n") || take("\n")) return {};
  if (is_over()) return wrong("a string is not closed");
  const char c = source_[at_];
  constexpr std::string_view kNames = "abfnrtv\\'\"";
  constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v\\'\"";
  if (const size_t i = kNames.find(c); i != kNames.npos) {
    ++at_;
    out += kMeanings[i];
    return {};
  }
  if (c >= '0' && c <= '7') {
    size_t n = 1;
    while (n < 3 && at_ + n < source_.size() && source_[at_ + n] >= '0' &&
           source_[at_ + n] <= '7') {
      ++n;
    }
    VARVE_TRY(const uint32_t value, digits(n, 8));
    append_utf8(value, out);
    return {};
  }
  if (c == 'x' || c == 'u' || c == 'U') {
    ++at_;
    VARVE_TRY(const uint32_t value, digits(c == 'x' ? 2 : c == 'u' ? 4 : 8, 16));
    append_utf8(value, out);
    return {};
  }
  if (c == 'N') return wrong("\\N in a string is not read");
  out += '\\';  // as Python keeps what it does not know
  return {};
}

Result<std::string> Module::literal(const Opening& opening, bool is_raw) {
  at_ += opening.prefix.size() + opening.quotes.size();
  std::string out;
  while (!take(opening.quotes)) {
    if (is_over() || (opening.quotes.size() == 1 && source_[at_] == '\n')) {
      return wrong("a string is not closed");
    }
    if (take("\\")) {
      if (!is_raw) {
        VARVE_CHECKED(escape(out));
        continue;
      }
      // The backslash stays, and what follows it closes nothing.
      out += '\\';
      if (is_over()) return wrong("a string is not closed");
    }
    if (take("\r\n")) {
      out += '\n';
      continue;
    }
    out += source_[at_++];
  }
  return out;
}

bool Module::take_assignment(std::string_view name) {
  const size_t begin = at_;
  const auto is_taken = [&] {
    if (!take(name) || (!is_over() && is_word(source_[at_]))) return false;
    skip_space(false);
    if (take(":")) {
      at_ = std::min(source_.find_first_of("=\n#\"'", at_), source_.size());
    }
    adds_ = take("+");
    return take("=") && !rest().starts_with("=");
  }();
  if (!is_taken) at_ = begin;
  return is_taken;
}

Result<std::string> Module::value() {
  skip_space(false);
  const bool in_parentheses = take("(");
  std::string out;
  size_t n = 0;
  for (;; ++n) {
    skip_space(in_parentheses);
    const std::optional<Opening> next = opening();
    if (!next) break;
    if (next->has('b') || next->has('f')) {
      return wrong("expected a plain string, found bytes or an f-string");
    }
    VARVE_TRY(const std::string part, literal(*next, next->has('r')));
    out += part;
  }
  const bool is_closed = !in_parentheses || take(")");
  skip_space(false);
  const bool is_whole = is_over() || source_[at_] == '\n' || source_[at_] == '\r' ||
                        source_[at_] == '#' || source_[at_] == ';';
  if (n == 0 || !is_closed || !is_whole || adds_) return wrong("expected strings and nothing else");
  return out;
}

Result<std::optional<std::string>> Module::find(std::string_view name) {
  std::optional<Result<std::string>> last;
  bool is_line_begin = true;
  while (!is_over()) {
    if (is_line_begin && take_assignment(name)) {
      const size_t begin = at_;
      last = value();
      // What is wrong with it matters only if it is the last one. It is gone through like all else.
      if (!*last) at_ = begin;
      is_line_begin = false;
    } else if (source_[at_] == '#') {
      skip_comment();
    } else if (const auto next = opening(); next && (at_ == 0 || !is_word(source_[at_ - 1]))) {
      // What stands in strings is no code. Escapes that are not read are none of our concern here.
      VARVE_CHECKED(literal(*next, true).map([](const std::string&) {}));
      is_line_begin = false;
    } else {
      is_line_begin = source_[at_] == '\n';
      ++at_;
    }
  }
  if (!last) return std::nullopt;
  return *std::move(last);
}

}  // namespace

Result<std::optional<std::string>> python_string(std::string_view source, std::string_view name,
                                                 const std::string& file) {
  if (!is_utf8(source)) return bad_input("{}: expected UTF-8", file);
  return Module(source, file).find(name);
}

std::string python_literal(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace varve
