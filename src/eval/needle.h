// Needles in haystacks: whether a model finds facts again, by the length of the document and the
// depth at which they are hidden in it.
//
// What two documents in a row have in common, which for two depths is the filler before the first
// fact, is read once (rewind).
#pragma once

#include <functional>
#include <vector>

#include "engine/engine.h"
#include "eval/needle_document.h"
#include "eval/statistics.h"

namespace varve {

/// What the model made of one token of an answer, the ones before it given.
struct AnswerToken {
  int rank = 0;  // 0: it is the argmax
  double probability = 0;
};

struct NeedleAnswer {
  int length = 0;  // of the document, as asked for
  int depth_percent = 0;
  std::vector<AnswerToken> tokens;

  bool is_right() const;       // each token is the argmax
  double probability() const;  // of the whole answer
};

struct NeedleOptions {
  std::vector<int> lengths;         // tokens
  std::vector<int> depths_percent;  // 0 to 100
  int n_documents = 2;              // of each length and depth, with seeds 1, 2, ...
};

/// Answers of one length and one depth.
struct NeedleCell {
  int length = 0;
  int depth_percent = 0;
  int n = 0;
  Estimate right;        // share of answers
  Estimate probability;  // of answers
};

struct NeedleMap {
  std::vector<NeedleAnswer> answers;  // one a document

  /// By length, then depth, in the order of the options.
  std::vector<NeedleCell> cells(const NeedleOptions& options) const;
  Estimate right() const;
  Estimate probability() const;
};

/// Documents of each length, seed and depth, depths ascending.
Result<std::vector<NeedleDocument>> make_needle_documents(const Tokenizer& tokenizer,
                                                          const Haystack& haystack, int bos_id,
                                                          const NeedleOptions& options);

/// The engine has to have room for the longest document and one resume point, which it makes at no
/// interval of its own, and no session alive. `on_documents` hears how many have been read.
Result<NeedleMap> find_needles(Engine& engine, std::span<const NeedleDocument> documents,
                               const std::function<void(size_t)>& on_documents);

}  // namespace varve
