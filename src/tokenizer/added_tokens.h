// Added tokens: strings that are found in the raw text before anything else happens to it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tokenizer/regex.h"
#include "tokenizer/utf8.h"

namespace varve {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool single_word = false;  // only where no word character stands next to it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
  bool normalized = false;   // looked for after all that are not
  bool special = false;
};

class AddedTokens {
 public:
  /// Errors: a content or an id that stands twice.
  static Result<AddedTokens> make(std::vector<AddedToken> tokens, const std::string& where);

  /// Sorted by content.
  const std::vector<AddedToken>& tokens() const { return tokens_; }
  const AddedToken* find(std::string_view content) const;
  const AddedToken* find(int32_t id) const;

  /// The longest token that `text` begins with; null where there is none.
  const AddedToken* longest_at(std::string_view text) const;

  /// Whether a word character ends, or starts, the text. Only for single_word tokens.
  bool next_to_word(std::string_view before, std::string_view after, RegexScratch& scratch) const;

  /// Cuts `text` at the tokens that are (or are not) `normalized`: of all matches the leftmost, of
  /// those the longest. Calls on_token(id) and on_text(span) in order, until one returns false;
  /// then returns false.
  template <class OnToken, class OnText>
  bool cut(std::string_view text, bool normalized, RegexScratch& scratch, const OnToken& on_token,
           const OnText& on_text) const;

 private:
  // The tokens of one kind, sorted by content (indices into tokens_).
  struct Group {
    std::vector<uint32_t> sorted;
    std::array<bool, 256> first_byte{};
  };
  struct Match {
    const AddedToken* token;
    size_t begin, end;
  };

  std::optional<Match> next(const Group& group, std::string_view text, size_t from) const;
  const AddedToken* longest_at(const Group& group, std::string_view text) const;

  std::vector<AddedToken> tokens_;  // sorted by content
  std::vector<uint32_t> by_id_;     // indices into tokens_, sorted by id
  std::array<Group, 2> groups_;     // not normalized, normalized
  std::optional<Regex> word_character_;
};

template <class OnToken, class OnText>
bool AddedTokens::cut(std::string_view text, bool normalized, RegexScratch& scratch,
                      const OnToken& on_token, const OnText& on_text) const {
  const Group& group = groups_[normalized ? 1 : 0];
  size_t done = 0;
  size_t from = 0;
  size_t white_end = 0;  // of the white space after the last token with rstrip
  while (const std::optional<Match> match = next(group, text, from)) {
    from = match->end;
    size_t begin = match->begin;
    size_t end = match->end;
    const AddedToken& token = *match->token;
    if (token.single_word && next_to_word(text.substr(0, begin), text.substr(end), scratch)) {
      continue;
    }
    // A match in the white space that the token before took (it has to be white space itself) is a
    // token again, unless lstrip finds nothing left for it.
    if (token.lstrip) {
      if (done < begin) {
        begin -= trailing_white_space_bytes(text.substr(done, begin - done));
      } else {
        begin = done;
      }
    }
    if (token.rstrip) {
      // A run of white space is gone through once, however many tokens lie in it.
      if (end > white_end) white_end = end + leading_white_space_bytes(text.substr(end));
      end = white_end;
    }
    if (done < begin && !on_text(text.substr(done, begin - done))) return false;
    if (begin < end && !on_token(token.id)) return false;
    done = end;
  }
  return done >= text.size() || on_text(text.substr(done));
}

}  // namespace varve
