// The tokens of an answer that follows a grammar: what may come next, and where it may end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "grammar/token_constraint.h"

namespace varve {

struct AnswerConstraintOptions {
  int vocab_size = 0;                 // of the model's logits
  std::vector<int32_t> end_ids = {};  // end the answer: may come exactly where it is complete
  /// The grammar begins behind this token (</think>); nothing: at once. Before it anything may come
  /// but an end, and other tokens that spell its text, as `piece` gives it.
  std::optional<int32_t> begins_behind = {};
  std::function<std::string_view(int32_t id)> piece = {};
};

class AnswerConstraint {
 public:
  /// Of an answer that follows a grammar, at most, and what following one takes of memory for each:
  /// xgrammar keeps where it was after every byte (165 bytes, measured; tokens of 4 bytes).
  static constexpr int kMaxTokens = 16384;
  static constexpr size_t kBytesPerToken = 660;

  /// Errors: (usage) the logits have no token to begin behind; as of TokenConstraint.
  static Result<AnswerConstraint> create(const CompiledGrammar& grammar,
                                         AnswerConstraintOptions options);

  /// The next token, which `draw` picks out of a mask (as TokenConstraint::allowed() has it) of at
  /// least one; it may be an end. Nothing: the answer is over, nothing may follow. Errors: as of
  /// TokenConstraint; (internal) no token of the vocabulary goes on.
  using Draw = std::function<int32_t(std::span<const uint32_t> allowed)>;
  Result<std::optional<int32_t>> next(const Draw& draw);

 private:
  AnswerConstraint(TokenConstraint constraint, AnswerConstraintOptions options);
  int32_t draw_before(const Draw& draw);
  bool is_end(int32_t id) const;
  void set(int32_t id, bool is_allowed);

  TokenConstraint constraint_;
  AnswerConstraintOptions options_;
  std::string tail_;  // of what came before the grammar, shorter than the text of that token
  std::vector<uint32_t> mask_;  // [ceil(vocab_size / 32)]
};

}  // namespace varve
