// Documents in which a fact is hidden: filler of a given length, the fact at some depth of it, and
// the question at the end.
//
// The fact is a line "The code of the amber falcon is 47."; it is asked for by its own beginning,
// and the answer is what completes it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tokenizer/tokenizer.h"

namespace varve {

/// Filler: sentences, used in turn and again from the first.
class Haystack {
 public:
  /// Sentences end at . ! or ? before white space, and at line ends. Error (bad_input): none.
  static Result<Haystack> from_text(std::string_view text, const std::string& name_for_messages);
  /// A few sentences of varve's own.
  static Haystack built_in();

  const std::string& sentence(size_t i) const { return sentences_[i % sentences_.size()]; }
  size_t n_sentences() const { return sentences_.size(); }

 private:
  std::vector<std::string> sentences_;
};

/// What is read is `ids` without the last of them: the answer, the last n_answer ids, is only
/// guessed, each id from those before it.
struct NeedleDocument {
  int length = 0;         // tokens, as asked for
  int depth_percent = 0;  // of the filler before the fact
  uint64_t seed = 0;
  std::string name;  // "amber falcon"
  std::string code;  // "47"
  std::string text;  // with question and answer
  std::vector<int32_t> ids;
  int n_answer = 0;
};

struct NeedleDocumentOptions {
  int length = 1024;      // tokens of the whole, at most
  int depth_percent = 0;  // 0: before all filler, 100: after it
  int bos_id = -1;        // stands in front where it is not -1
  uint64_t seed = 1;      // draws name, code and where the filler begins
};

/// As many sentences as fit. Documents that differ in depth alone have the same filler. Errors
/// (usage): fact and question alone are longer than that.
Result<NeedleDocument> make_needle_document(const Tokenizer& tokenizer, const Haystack& haystack,
                                            const NeedleDocumentOptions& options);

}  // namespace varve
