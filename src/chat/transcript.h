// The tokens of a conversation, and the texts that they stand for: what of a newly rendered
// conversation is in the session already.
//
// A conversation is rendered anew at each turn, all of it. What was read or sampled before is never
// tokenized again where the new text still says the same: an answer keeps the very ids that were
// sampled. Where the text differs (a template drops old reasoning, the user went back, an answer
// was cut short), what follows the difference is read anew.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tokenizer/tokenizer.h"

namespace varve {

class Transcript {
 public:
  /// `tokenizer` has to outlive it.
  explicit Transcript(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  /// Makes the transcript that of `rendered`: the ids of what both say stay. What users wrote in it
  /// is as_plain_text() of the tokenizer, so that it cannot begin or end turns.
  /// Errors: as of Tokenizer::encode; the transcript is then as it was.
  Result<void> continue_to(std::string_view rendered);

  /// Appends what was read behind all that is there. Errors: as of Tokenizer::encode.
  Result<void> add_read(std::string text);
  /// Appends what the model answered; `text` is what its ids stand for in the conversation.
  void add_answer(std::vector<int32_t> ids, std::string text);

  const std::vector<int32_t>& ids() const { return ids_; }

  /// What add_read() and add_answer() would make it of.
  struct Part {
    std::string_view text;
    std::span<const int32_t> ids;
    bool is_answer = false;
  };
  std::vector<Part> parts() const;

  /// Bytes of `rendered`, from its beginning, whose ids continue_to() would keep.
  size_t common_bytes(std::string_view rendered) const;
  /// What the transcript holds in memory, about.
  size_t held_bytes() const;

 private:
  /// A stretch that was tokenized or sampled at once.
  struct Stretch {
    std::string text;
    size_t first_id;
    bool is_answer;
  };

  size_t end_id(size_t i) const {
    return i + 1 < stretches_.size() ? stretches_[i + 1].first_id : ids_.size();
  }
  /// Bytes of `rendered` that the stretch stands for; npos where it says something else. In an
  /// answer that comes back marks of as_plain_text() may stand: its ids were sampled, not forged.
  static size_t matching_bytes(const Stretch& stretch, std::string_view rendered);
  /// Where a stretch may be cut so that its beginning is that of `rendered`: how many ids and bytes
  /// stay.
  struct Cut {
    size_t n_ids = 0;
    size_t n_bytes = 0;
  };
  Cut cut_of(size_t i, std::string_view rendered) const;
  /// How much of `rendered` is here: so many whole stretches and their bytes, and the cut of the
  /// one behind them.
  struct Common {
    size_t n_stretches = 0;
    size_t n_bytes = 0;
    Cut cut = {};
  };
  Common common_with(std::string_view rendered) const;

  const Tokenizer* tokenizer_;
  std::vector<Stretch> stretches_;
  std::vector<int32_t> ids_;
};

}  // namespace varve
