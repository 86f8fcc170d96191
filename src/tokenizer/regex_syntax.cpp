// Translates patterns from Oniguruma's syntax to PCRE2's.
#include <cctype>
#include <optional>
#include <vector>

#include "tokenizer/quote.h"
#include "tokenizer/regex.h"

namespace varve {
namespace {

// The same sets as Oniguruma's \s and \w have in UTF-8; PCRE2's own differ in a few characters.
// Outside of a class its \w also takes the superscript digits and fractions of Latin-1.
constexpr std::string_view kSpaceSet =
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}"
    "\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}"
    "\\x{3000}";
constexpr std::string_view kWordSet = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
constexpr std::string_view kLoneWordSet =
    "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}";
constexpr std::string_view kHexSet = "0-9a-fA-F";

// General categories, which both name alike; other names are scripts, or what PCRE2 makes of them.
bool is_general_category(std::string_view name) {
  if (!name.empty() && name.front() == '^') name.remove_prefix(1);
  return name.size() <= 2 || name == "Any";
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  Result<std::string> run() {
    while (at_ < in_.size()) VARVE_CHECKED(step());
    return std::move(out_);
  }

 private:
  char peek(size_t ahead = 0) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }
  bool starts(std::string_view what) const { return in_.substr(at_).starts_with(what); }
  void copy(size_t n) {
    out_.append(in_.substr(at_, n));
    at_ += n;
  }
  static tl::unexpected<Error> unsupported(std::string_view what) {
    return bad_input("uses {}, which is not supported", what);
  }

  Result<void> step() {
    const char c = peek();
    if (c == '{') {
      if (std::optional<size_t> length = interval_length()) return interval(*length);
    }
    if (c == '(') return open_group();
    if (c == ')') {
      // An unmatched one is left for PCRE2 to complain about.
      if (!groups_.empty()) {
        atom_ = groups_.back();
        groups_.pop_back();
      }
      copy(1);
      return {};
    }
    if (c == '*' || c == '+' || c == '?' || c == '|') {
      copy(1);
      return {};
    }
    atom_ = out_.size();
    if (c == '\\') return escape(false);
    if (c == '[') return char_class();
    if (ignores_case_) VARVE_CHECKED(check_case(c));
    // A whole character, so that a quantifier which follows knows where its atom begins.
    copy(1);
    while ((static_cast<unsigned char>(peek()) & 0xC0) == 0x80) copy(1);
    return {};
  }

  // Without regard to case, Oniguruma lets two letters stand for one ("ss" for U+00DF) and the
  // other way round; PCRE2 does not.
  Result<void> check_case(char c) const {
    if (static_cast<unsigned char>(c) >= 0x80) {
      return unsupported("letters outside ASCII without regard to case");
    }
    std::string pair(in_.substr(at_, 2));
    for (char& letter : pair) {
      letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    }
    for (const std::string_view folded : {"ss", "ff", "fi", "fl", "st"}) {
      if (pair == folded) return unsupported(in_quotes(pair) + " without regard to case");
    }
    return {};
  }

  // Bytes of an interval {n}, {n,}, {,m} or {n,m} here; other braces are literal in both syntaxes.
  std::optional<size_t> interval_length() const {
    size_t i = 1;
    size_t n_digits = 0;
    while (is_digit(peek(i))) ++i, ++n_digits;
    if (peek(i) == ',') {
      ++i;
      while (is_digit(peek(i))) ++i, ++n_digits;
    }
    if (peek(i) != '}' || n_digits == 0) return std::nullopt;
    return i + 1;
  }

  Result<void> interval(size_t length) {
    const std::string_view text = in_.substr(at_, length);
    const bool fixed = text.find(',') == std::string_view::npos;
    if (text.starts_with("{,")) {
      out_.append("{0").append(text.substr(1));
      at_ += length;
    } else {
      copy(length);
    }
    if (peek() == '?' && fixed) return unsupported("{n}? with a fixed count");
    if (peek() == '+') {
      // Here the plus repeats the interval; in PCRE2 it would make it possessive.
      out_.insert(atom_, "(?:");
      out_.push_back(')');
    }
    return {};
  }

  Result<void> open_group() {
    const size_t group = out_.size();
    if (starts("(*")) return unsupported("a verb (*...)");
    if (!starts("(?")) {
      groups_.push_back(group);
      copy(1);
      return {};
    }
    for (const std::string_view opening : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"}) {
      if (starts(opening)) {
        groups_.push_back(group);
        ignores_case_ = ignores_case_ || opening == "(?i:";
        copy(opening.size());
        return {};
      }
    }
    if (starts("(?i)") && at_ == 0) {
      ignores_case_ = true;
      copy(4);
      return {};
    }
    return unsupported("the group " + in_quotes(in_.substr(at_, 5)));
  }

  Result<void> escape(bool in_class) {
    const char c = peek(1);
    const auto set = [&](std::string_view members, bool negated) {
      if (in_class) {
        out_.append(members);
      } else {
        out_.append(negated ? "[^" : "[").append(members).push_back(']');
      }
      at_ += 2;
    };
    const auto literal = [&](std::string_view text) {
      out_.append(text);
      at_ += 2;
    };
    switch (c) {
      case '\0':
        return unsupported("a backslash at its end");
      case 's':
        return set(kSpaceSet, false), Result<void>();
      case 'S':
        if (in_class) return literal("\\P{White_Space}"), Result<void>();
        return set(kSpaceSet, true), Result<void>();
      case 'w':
        return set(in_class ? kWordSet : kLoneWordSet, false), Result<void>();
      case 'h':
        return set(kHexSet, false), Result<void>();
      case 'W':
      case 'H':
        if (in_class) return unsupported("a negated \\w or \\h in a class");
        return set(c == 'W' ? kLoneWordSet : kHexSet, true), Result<void>();
      case 'v':
        return literal("\\x0B"), Result<void>();
      case 'u':
        return code_point();
      case 'p':
      case 'P':
        return property();
      case 'd':
      case 'D':
      case 'n':
      case 'r':
      case 't':
      case 'f':
      case 'a':
      case 'e':
      case 'x':
        return copy(2), Result<void>();
      case 'A':
      case 'z':
      case 'Z':
        if (!in_class) return copy(2), Result<void>();
        break;
      case 'b':
        if (in_class) return copy(2), Result<void>();
        break;
      default:
        if (std::isalnum(static_cast<unsigned char>(c)) == 0) return copy(2), Result<void>();
        if (c == '0' || (is_digit(c) && !in_class)) return copy(2), Result<void>();
        break;
    }
    return unsupported("the escape " + in_quotes(in_.substr(at_, 2)));
  }

  Result<void> code_point() {
    const std::string_view digits = in_.substr(at_ + 2).substr(0, 4);
    for (const char c : digits) {
      if (std::isxdigit(static_cast<unsigned char>(c)) == 0) return unsupported("a short \\u");
    }
    if (digits.size() != 4) return unsupported("a short \\u");
    out_.append("\\x{").append(digits).push_back('}');
    at_ += 6;
    return {};
  }

  // \p{Name}. A script name means the script itself; PCRE2 takes a bare one to mean the characters
  // that are used in the script, so it is told.
  Result<void> property() {
    const size_t end = in_.find('}', at_);
    if (peek(2) != '{' || end == std::string_view::npos) {
      return unsupported("a property without braces");
    }
    const std::string_view name = in_.substr(at_ + 3, end - at_ - 3);
    if (is_general_category(name)) return copy(end + 1 - at_), Result<void>();
    for (const std::string_view script :
         {"Arabic",   "Armenian", "Bengali",   "Bopomofo",  "Cyrillic", "Devanagari",
          "Ethiopic", "Georgian", "Greek",     "Gujarati",  "Gurmukhi", "Han",
          "Hangul",   "Hebrew",   "Hiragana",  "Kannada",   "Katakana", "Khmer",
          "Lao",      "Latin",    "Malayalam", "Mongolian", "Myanmar",  "Oriya",
          "Sinhala",  "Tamil",    "Telugu",    "Thai",      "Tibetan"}) {
      if (name != script) continue;
      out_.append(in_.substr(at_, 3)).append("sc:").append(name).push_back('}');
      at_ = end + 1;
      return {};
    }
    return unsupported("the property " + in_quotes(name));
  }

  Result<void> char_class() {
    copy(1);
    if (peek() == '^') copy(1);
    if (peek() == ']') copy(1);
    while (at_ < in_.size() && peek() != ']') {
      if (peek() == '[') return unsupported("a class inside a class");
      if (starts("&&")) return unsupported("an intersection of classes");
      if (ignores_case_ && static_cast<unsigned char>(peek()) >= 0x80)
        VARVE_CHECKED(check_case(peek()));
      if (peek() == '\\') {
        VARVE_CHECKED(escape(true));
      } else {
        copy(1);
      }
    }
    copy(at_ < in_.size() ? 1 : 0);
    return {};
  }

  std::string_view in_;
  size_t at_ = 0;
  std::string out_;
  size_t atom_ = 0;             // where the atom that a quantifier would repeat begins in out_
  bool ignores_case_ = false;   // from the first (?i) on
  std::vector<size_t> groups_;  // where the open groups begin in out_
};

}  // namespace

Result<std::string> translate_pattern(std::string_view pattern) {
  return Translator(pattern).run();
}

}  // namespace varve
