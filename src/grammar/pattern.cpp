#include "grammar/pattern.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "grammar/code_points.h"
#include "tokenizer/utf8.h"

namespace varve {
namespace {

constexpr int kMaxGroups = 32;  // one inside the other
// Of a class: one that is longer counts as several characters, for it takes an automaton as much.
constexpr size_t kBytesPerPosition = 1024;

const CodePoints kDigits({{'0', '9'}});
const CodePoints kWords({{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}});
const CodePoints kSpaces({{0x09, 0x0D},
                          {' ', ' '},
                          {0xA0, 0xA0},
                          {0x1680, 0x1680},
                          {0x2000, 0x200A},
                          {0x2028, 0x2029},
                          {0x202F, 0x202F},
                          {0x205F, 0x205F},
                          {0x3000, 0x3000},
                          {0xFEFF, 0xFEFF}});
const CodePoints kLineEnds({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}});

CodePoints one(uint32_t code_point) {
  return CodePoints({{code_point, code_point}});
}

// Error: it is larger than patterns may be.
Result<void> check_size(const CostedRegex& regex) {
  if (regex.n_positions > kMaxPatternPositions) {
    return bad_input("the pattern has more than {} characters with its repetitions",
                     kMaxPatternPositions);
  }
  if (regex.text.size() > kMaxPatternBytes) {
    return bad_input("the pattern takes more than {} bytes when it is written out",
                     kMaxPatternBytes);
  }
  return {};
}

// {at_least, at_most}; no most: any number.
struct Quantifier {
  int64_t at_least = 1;
  std::optional<int64_t> at_most = 1;
};

class PatternReader {
 public:
  explicit PatternReader(std::string_view pattern) : pattern_(pattern), rest_(pattern) {}

  Result<CostedRegex> read() {
    VARVE_TRY(CostedRegex regex, alternatives(0));
    if (!rest_.empty()) return wrong("`)` closes no group");
    return regex;
  }

 private:
  Result<CostedRegex> alternatives(int depth);
  Result<CostedRegex> sequence(int depth);
  Result<CostedRegex> atom(int depth);
  Result<CostedRegex> group(int depth);
  Result<CodePoints> bracket();
  Result<CodePoints> bracket_item();
  Result<CodePoints> escape(bool in_class);
  Result<uint32_t> hexadecimal();
  Result<Quantifier> quantifier();
  Result<Quantifier> braces();
  Result<uint32_t> character();
  Result<CostedRegex> costed(const CodePoints& set) const;

  bool take(std::string_view text) {
    if (!rest_.starts_with(text)) return false;
    rest_.remove_prefix(text.size());
    return true;
  }
  bool at_end_of_sequence() const {
    return rest_.empty() || rest_.front() == '|' || rest_.front() == ')';
  }
  template <class... Args>
  tl::unexpected<Error> wrong(fmt::format_string<Args...> format, Args&&... args) const {
    return bad_input("at byte {} of the pattern: {}", pattern_.size() - rest_.size(),
                     fmt::format(format, std::forward<Args>(args)...));
  }

  std::string_view pattern_;
  std::string_view rest_;
};

Result<CostedRegex> PatternReader::alternatives(int depth) {
  CostedRegex all;
  do {
    if (!all.text.empty()) all.text += '|';
    VARVE_TRY(const CostedRegex one, sequence(depth));
    // An alternative that is empty has to stay one.
    all.text += one.text.empty() ? "(?:)" : one.text;
    // Or repetitions of nothing would be free.
    all.n_positions += std::max<int64_t>(1, one.n_positions);
    VARVE_CHECKED(check_size(all));
  } while (take("|"));
  return all;
}

Result<CostedRegex> PatternReader::sequence(int depth) {
  const CostedRegex anything = {any_json_character() + "*", 1};
  const bool is_top = depth == 0;
  CostedRegex all;
  const auto add = [&](const CostedRegex& part) {
    all.text += part.text;
    all.n_positions += part.n_positions;
  };
  if (is_top && !take("^")) add(anything);
  bool is_anchored = false;
  while (!at_end_of_sequence()) {
    if (is_top && rest_.front() == '$') {
      rest_.remove_prefix(1);
      is_anchored = true;
      if (!at_end_of_sequence()) return wrong("`$` is supported at the end alone");
      break;
    }
    VARVE_TRY(CostedRegex part, atom(depth));
    VARVE_TRY(const Quantifier times, quantifier());
    if (times.at_least != 1 || times.at_most != 1) {
      part.text = fmt::format("(?:{})", part.text);
      if (times.at_most) {
        part.text += fmt::format("{{{},{}}}", times.at_least, *times.at_most);
      } else if (times.at_least == 0) {
        part.text += '*';
      } else {
        part.text += fmt::format("{{{}}}{}*", times.at_least, part.text);
      }
      part.n_positions *= std::max<int64_t>(1, times.at_most.value_or(times.at_least + 1));
    }
    add(part);
    VARVE_CHECKED(check_size(all));
  }
  if (is_top && !is_anchored) add(anything);
  return all;
}

Result<CostedRegex> PatternReader::costed(const CodePoints& set) const {
  CostedRegex regex = {json_regex_of(set), 1};
  regex.n_positions += static_cast<int64_t>(regex.text.size() / kBytesPerPosition);
  if (regex.text.empty()) return wrong("the class has no character that JSON can show");
  return regex;
}

Result<CostedRegex> PatternReader::atom(int depth) {
  const char first = rest_.front();
  if (std::string_view("*+?{").find(first) != std::string_view::npos) {
    return wrong("there is nothing to repeat before `{}`", first);
  }
  if (first == '^' || first == '$') return wrong("`{}` is supported at the ends alone", first);
  if (first == ']' || first == '}') return wrong("`{}` has to be escaped", first);
  if (take("(")) return group(depth);
  if (take(".")) return costed(kLineEnds.complement());
  if (take("[")) {
    VARVE_TRY(const CodePoints set, bracket());
    return costed(set);
  }
  if (take("\\")) {
    VARVE_TRY(const CodePoints set, escape(false));
    return costed(set);
  }
  VARVE_TRY(const uint32_t code_point, character());
  return costed(one(code_point));
}

Result<CostedRegex> PatternReader::group(int depth) {
  if (depth >= kMaxGroups) return wrong("groups are nested deeper than {}", kMaxGroups);
  for (const std::string_view look : {"?=", "?!", "?<=", "?<!"}) {
    if (rest_.starts_with(look)) return wrong("looking around (`({}`) is not supported", look);
  }
  if (take("?<")) {
    const size_t end = rest_.find('>');
    if (end == rest_.npos) return wrong("the name of a group does not end");
    rest_.remove_prefix(end + 1);
  } else if (!take("?:") && rest_.starts_with('?')) {
    return wrong("a group of the kind `({}` is not supported", rest_.substr(0, 2));
  }
  VARVE_TRY(CostedRegex inner, alternatives(depth + 1));
  if (!take(")")) return wrong("a group does not end");
  inner.text = "(?:" + inner.text + ")";
  return inner;
}

Result<CodePoints> PatternReader::bracket() {
  const bool is_negated = take("^");
  CodePoints set;
  while (!take("]")) {
    if (rest_.empty()) return wrong("a class does not end");
    VARVE_TRY(CodePoints item, bracket_item());
    if (rest_.size() > 1 && rest_.front() == '-' && rest_[1] != ']') {
      rest_.remove_prefix(1);
      VARVE_TRY(const CodePoints end, bracket_item());
      const auto is_one = [](const CodePoints& points) {
        return points.ranges().size() == 1 &&
               points.ranges().front().first == points.ranges().front().second;
      };
      if (!is_one(item) || !is_one(end)) return wrong("a range needs a character at each end");
      const uint32_t low = item.ranges().front().first;
      const uint32_t high = end.ranges().front().first;
      if (low > high) return wrong("a range runs backwards");
      item = CodePoints({{low, high}});
    }
    set = set.with(item);
  }
  return is_negated ? set.complement() : set;
}

Result<CodePoints> PatternReader::bracket_item() {
  if (rest_.empty()) return wrong("a class does not end");
  if (take("\\")) return escape(true);
  VARVE_TRY(const uint32_t code_point, character());
  return one(code_point);
}

// Behind the backslash.
Result<CodePoints> PatternReader::escape(bool in_class) {
  if (rest_.empty()) return wrong("a backslash ends it");
  const char letter = rest_.front();
  rest_.remove_prefix(1);
  switch (letter) {
    case 'd':
      return kDigits;
    case 'D':
      return kDigits.complement();
    case 'w':
      return kWords;
    case 'W':
      return kWords.complement();
    case 's':
      return kSpaces;
    case 'S':
      return kSpaces.complement();
    case 't':
      return one('\t');
    case 'n':
      return one('\n');
    case 'r':
      return one('\r');
    case 'f':
      return one('\f');
    case 'v':
      return one('\v');
    case 'b':
      if (in_class) return one('\b');
      break;
    case 'x':
    case 'u': {
      rest_ = pattern_.substr(pattern_.size() - rest_.size() - 1);
      VARVE_TRY(const uint32_t code_point, hexadecimal());
      return one(code_point);
    }
    default:
      break;
  }
  const bool is_word = kWords.has(static_cast<unsigned char>(letter));
  const bool is_ascii = static_cast<unsigned char>(letter) < 0x80;
  if (is_word || !is_ascii) {
    return wrong("the escape `\\{}` is not supported", is_ascii ? std::string(1, letter) : "");
  }
  return one(static_cast<unsigned char>(letter));
}

// \xHH, \uHHHH or \u{H...}, from its letter on.
Result<uint32_t> PatternReader::hexadecimal() {
  size_t n_digits = rest_.front() == 'x' ? 2 : 4;
  rest_.remove_prefix(1);
  const bool has_braces = n_digits == 4 && take("{");
  if (has_braces) n_digits = std::min<size_t>(rest_.find('}'), 6);
  uint32_t code_point = 0;
  for (size_t i = 0; i < n_digits; ++i) {
    const char digit = rest_.empty() ? ' ' : rest_.front();
    const std::string_view digits = "0123456789abcdef";
    const char lower = digit >= 'A' && digit <= 'F' ? static_cast<char>(digit + 32) : digit;
    const size_t value = digits.find(lower);
    if (value == digits.npos) return wrong("expected {} hexadecimal digits", n_digits);
    code_point = code_point * 16 + static_cast<uint32_t>(value);
    rest_.remove_prefix(1);
  }
  if (has_braces && (n_digits == 0 || !take("}"))) return wrong("expected `\\u{{` digits `}}`");
  if (code_point > CodePoints::kLast) return wrong("there is no character {:x}", code_point);
  return code_point;
}

Result<uint32_t> PatternReader::character() {
  const Utf8Step step = utf8_step(rest_);
  if (step.kind != Utf8Step::Kind::character) return wrong("it is not UTF-8");
  rest_.remove_prefix(step.n_bytes);
  return step.code_point;
}

Result<Quantifier> PatternReader::quantifier() {
  Quantifier times;
  if (take("*")) {
    times = {0, std::nullopt};
  } else if (take("+")) {
    times = {1, std::nullopt};
  } else if (take("?")) {
    times = {0, 1};
  } else if (take("{")) {
    VARVE_TRY(times, braces());
  } else {
    return times;
  }
  take("?");  // fewer first: the same strings
  if (!rest_.empty() && std::string_view("*+?{").find(rest_.front()) != std::string_view::npos) {
    return wrong("there is nothing to repeat before `{}`", rest_.front());
  }
  return times;
}

Result<Quantifier> PatternReader::braces() {
  const auto number = [&]() -> Result<int64_t> {
    int64_t value = 0;
    size_t n = 0;
    while (n < rest_.size() && rest_[n] >= '0' && rest_[n] <= '9') {
      value = std::min(value * 10 + (rest_[n] - '0'), kMaxRepetitions + 1);
      ++n;
    }
    if (n == 0) return wrong("expected {{m}}, {{m,}} or {{m,n}}");
    if (value > kMaxRepetitions) return wrong("expected at most {} repetitions", kMaxRepetitions);
    rest_.remove_prefix(n);
    return value;
  };
  Quantifier times;
  VARVE_TRY(times.at_least, number());
  times.at_most = times.at_least;
  if (take(",")) {
    if (rest_.starts_with('}')) {
      times.at_most = std::nullopt;
    } else {
      VARVE_TRY(times.at_most, number());
    }
  }
  if (!take("}")) return wrong("expected {{m}}, {{m,}} or {{m,n}}");
  if (times.at_most && *times.at_most < times.at_least) return wrong("{{m,n}} runs backwards");
  return times;
}

// Months with their days; the 29th of February would need the year.
#define VARVE_DATE                                                                     \
  "[12]\\d{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|" \
  "[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))"
#define VARVE_TIME \
  "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,6})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)"
#define VARVE_LABEL "[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*"
#define VARVE_BYTE "(?:\\d|[1-9]\\d|1\\d\\d|2[0-4]\\d|25[0-5])"

constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kFormats = {{
    {"date", "^" VARVE_DATE "$"},
    {"time", "^" VARVE_TIME "$"},
    {"date-time", "^" VARVE_DATE "T" VARVE_TIME "$"},
    {"uuid", "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"},
    {"email", "^[\\w+-]+(?:\\.[\\w+-]+)*@(?:" VARVE_LABEL "\\.)+[A-Za-z]{2,}$"},
    {"ipv4", "^" VARVE_BYTE "(?:\\." VARVE_BYTE "){3}$"},
}};

#undef VARVE_DATE
#undef VARVE_TIME
#undef VARVE_LABEL
#undef VARVE_BYTE

}  // namespace

Result<CostedRegex> json_regex_of_pattern(std::string_view pattern) {
  return PatternReader(pattern).read();
}

std::string_view pattern_of_format(std::string_view format) {
  for (const auto& [name, pattern] : kFormats) {
    if (name == format) return pattern;
  }
  return {};
}

}  // namespace varve
