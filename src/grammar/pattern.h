// The `pattern` of a JSON schema: regular expressions as ECMA-262 has them, as far as they are
// regular, turned into one over the JSON text of the strings that they match.
//
// Taken: characters, `.`, classes, \d \w \s and their opposites, escapes of characters, groups
// (named too), `|`, * + ? {m} {m,} {m,n} with or without a lazy `?`, `^` at the beginning and `$`
// at the end of the whole or of one of its alternatives. All else is refused by name: looking
// around, references back, word boundaries, properties. Characters stand for themselves or for a
// short escape of JSON; \u escapes are not matched.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace varve {

/// A regular expression of the plainest kind, and what it costs: characters that an automaton for
/// it has states for.
struct CostedRegex {
  std::string text;
  int64_t n_positions = 0;
};

/// Characters of a pattern with all repetitions written out, and bounds of one repetition, at most.
inline constexpr int64_t kMaxPatternPositions = 1000;
inline constexpr int64_t kMaxRepetitions = 128;
/// Of the expression's text, at most: `+` doubles what it repeats, and a class may be long.
inline constexpr size_t kMaxPatternBytes = size_t{128} << 10;

/// Of the text between the quotes. A pattern matches anywhere in a string unless it is anchored.
/// Errors (bad_input): what is not taken, and where; more than those.
Result<CostedRegex> json_regex_of_pattern(std::string_view pattern);

/// The patterns of the formats that are held to: date, time, date-time, uuid, email, ipv4. Empty
/// for others, which say what is meant and constrain nothing.
std::string_view pattern_of_format(std::string_view format);

}  // namespace varve
