#include "grammar/code_points.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace varve {
namespace {

// Characters that JSON spells by a backslash and one letter; `/` stands for itself.
struct Escape {
  uint32_t code_point;
  uint32_t letter;
};
constexpr Escape kEscapes[] = {{'"', '"'},  {'\\', '\\'}, {'\b', 'b'}, {'\f', 'f'},
                               {'\n', 'n'}, {'\r', 'r'},  {'\t', 't'}};

std::string class_of(const CodePoints& set) {
  const auto& ranges = set.ranges();
  if (ranges.size() == 1 && ranges.front().first == ranges.front().second) {
    return regex_character(ranges.front().first);
  }
  std::string text = "[";
  for (const auto& [first, last] : ranges) {
    text += regex_character(first);
    if (first == last) continue;
    if (last > first + 1) text += '-';
    text += regex_character(last);
  }
  return text + "]";
}

}  // namespace

CodePoints::CodePoints(std::vector<Range> ranges) : ranges_(std::move(ranges)) {
  std::sort(ranges_.begin(), ranges_.end());
  size_t n = 0;
  for (const Range& range : ranges_) {
    if (n > 0 && range.first <= ranges_[n - 1].second + 1) {
      ranges_[n - 1].second = std::max(ranges_[n - 1].second, range.second);
    } else {
      ranges_[n++] = range;
    }
  }
  ranges_.resize(n);
}

bool CodePoints::has(uint32_t code_point) const {
  return std::any_of(ranges_.begin(), ranges_.end(), [&](const Range& range) {
    return range.first <= code_point && code_point <= range.second;
  });
}

CodePoints CodePoints::complement() const {
  std::vector<Range> others;
  uint32_t next = 0;
  for (const auto& [first, last] : ranges_) {
    if (first > next) others.emplace_back(next, first - 1);
    next = last + 1;
  }
  if (next <= kLast) others.emplace_back(next, kLast);
  return CodePoints(std::move(others));
}

CodePoints CodePoints::with(const CodePoints& other) const {
  std::vector<Range> both = ranges_;
  both.insert(both.end(), other.ranges_.begin(), other.ranges_.end());
  return CodePoints(std::move(both));
}

CodePoints CodePoints::within(const CodePoints& other) const {
  return complement().with(other.complement()).complement();
}

const CodePoints& plain_in_json() {
  static const CodePoints plain =
      CodePoints(
          {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}, {0x7FF, 0x7FF}, {0xD800, 0xDFFF}, {0xFFFF, 0xFFFF}})
          .complement();
  return plain;
}

std::string json_regex_of(const CodePoints& set) {
  const CodePoints plain = set.within(plain_in_json());
  std::vector<CodePoints::Range> letters;
  for (const Escape& escape : kEscapes) {
    if (!set.has(escape.code_point)) continue;
    letters.emplace_back(escape.letter, escape.letter);
  }
  if (letters.empty()) return plain.empty() ? "" : class_of(plain);
  const std::string escaped = "\\\\" + class_of(CodePoints(std::move(letters)));
  if (plain.empty()) return "(?:" + escaped + ")";
  return "(?:" + class_of(plain) + "|" + escaped + ")";
}

const std::string& any_json_character() {
  static const std::string text =
      "(?:" + class_of(plain_in_json()) +
      "|\\\\(?:[\\\"\\\\\\/bfnrt]|u(?:[0-9a-cA-CeEfF][0-9a-fA-F]|[dD][0-7])[0-9a-fA-F]{2}))";
  return text;
}

std::string regex_character(uint32_t code_point) {
  const bool is_word = (code_point >= '0' && code_point <= '9') ||
                       (code_point >= 'a' && code_point <= 'z') ||
                       (code_point >= 'A' && code_point <= 'Z');
  if (is_word) return std::string(1, static_cast<char>(code_point));
  if (code_point > 0x20 && code_point < 0x7F) return {'\\', static_cast<char>(code_point)};
  if (code_point < 0x80) return fmt::format("\\x{:02x}", code_point);
  return fmt::format("\\u{{{:x}}}", code_point);
}

}  // namespace varve
