// Sets of characters, and how a regular expression over JSON's spelling of a string names them.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace varve {

class CodePoints {
 public:
  using Range = std::pair<uint32_t, uint32_t>;  // both ends belong to it
  static constexpr uint32_t kLast = 0x10FFFF;

  CodePoints() = default;
  explicit CodePoints(std::vector<Range> ranges);
  static CodePoints all() { return CodePoints({{0, kLast}}); }

  bool empty() const { return ranges_.empty(); }
  bool has(uint32_t code_point) const;
  /// In ascending order, none beside the next.
  const std::vector<Range>& ranges() const { return ranges_; }

  CodePoints complement() const;
  CodePoints with(const CodePoints& other) const;
  CodePoints within(const CodePoints& other) const;

 private:
  std::vector<Range> ranges_;
};

/// What a JSON string may hold as it is: no quote, backslash, control character or surrogate. Nor
/// the last characters of two and of three bytes, U+07FF and U+FFFF: xgrammar 0.2.8 makes of a
/// range that goes on from there to longer ones a set of bytes with overlong forms in it.
const CodePoints& plain_in_json();

/// A regular expression for one character of `set` as JSON spells it: itself, or a backslash and a
/// letter. Empty where JSON has neither for any of them.
std::string json_regex_of(const CodePoints& set);

/// One character of any JSON string, in each of its spellings but escaped surrogates.
const std::string& any_json_character();

/// `code_point` as a regular expression spells it, in a class and outside of one.
std::string regex_character(uint32_t code_point);

}  // namespace varve
