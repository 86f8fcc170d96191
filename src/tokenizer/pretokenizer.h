// Cuts text into the words that BPE works on, by the stages of the file's pre_tokenizer.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tokenizer/regex.h"

namespace varve {

/// What a Split does with the matches of its pattern and the text between them.
enum class SplitBehavior {
  isolated,              // each match is a span of its own
  removed,               // matches are dropped
  merged_with_previous,  // a match joins the span before it
  merged_with_next,      // a match joins the span after it
  contiguous,            // matches that follow one another are one span
};

/// The pattern of GPT-2, which a ByteLevel stage cuts by unless it is told not to.
inline constexpr std::string_view kGpt2Words =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/// Takes the words of a text in order.
class WordSink {
 public:
  /// `lasting`: the bytes are those of the text given to split(), not a copy that goes away.
  /// Returns false to stop.
  virtual bool word(std::string_view word, bool lasting) = 0;

 protected:
  ~WordSink() = default;
};

class Pretokenizer {
 public:
  struct Split {
    std::optional<Regex> regex;  // or else
    std::string literal;
    SplitBehavior behavior = SplitBehavior::isolated;
    bool invert = false;  // what matches and what lies between change places
  };

  /// Stages run in the order of the calls: each cuts the spans of the one before, which it sees
  /// one at a time, as if nothing stood around them.
  void add(Split split) { stages_.push_back(std::move(split)); }
  size_t n_stages() const { return stages_.size(); }

  /// The stage that ends the list: ByteLevel. `words` is its own pattern, if it has one.
  void end_with_byte_level(bool add_prefix_space, std::optional<Regex> words);

  /// Errors: a pattern fails on this text. `text` has to be well-formed UTF-8.
  Result<void> split(std::string_view text, RegexScratch& scratch, WordSink& sink) const;

 private:
  struct Run;

  std::vector<Split> stages_;
  size_t first_byte_level_stage_ = 0;
  bool add_prefix_space_ = false;
};

}  // namespace varve
