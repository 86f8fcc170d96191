// What a text may go on with, token by token.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "grammar/grammar_compiler.h"

namespace varve {

/// One text that follows a grammar, from its beginning. A thread at a time.
class TokenConstraint {
 public:
  /// Error (internal): xgrammar fails.
  static Result<TokenConstraint> create(const CompiledGrammar& grammar);
  TokenConstraint(TokenConstraint&& other) noexcept;
  TokenConstraint& operator=(TokenConstraint&& other) noexcept;
  ~TokenConstraint();

  /// The tokens that may come next: bit i % 32 of word i / 32 stands for id i, bits beyond the
  /// vocabulary are 0. Valid until the next accept(). 5 to 20 us a token for usual schemas (129,280
  /// tokens). Error (internal): xgrammar fails.
  Result<std::span<const uint32_t>> allowed();
  /// Goes on with a token. False: it may not come here after all; it is then not allowed() any
  /// more, and nothing else has changed.
  bool accept(int32_t id);

  /// Whether the text may end here.
  bool is_complete() const;
  /// Whether it has to: nothing may follow. Error: as of allowed().
  Result<bool> is_finished();

 private:
  struct Parts;
  explicit TokenConstraint(std::unique_ptr<Parts> parts);
  Result<void> fill();

  std::unique_ptr<Parts> parts_;
  std::vector<uint32_t> mask_;  // [ceil(vocab_size / 32)]
  bool is_filled_ = false;
};

inline bool has_id(std::span<const uint32_t> mask, int32_t id) {
  return (mask[static_cast<size_t>(id) / 32] >> (static_cast<size_t>(id) % 32) & 1) != 0;
}

}  // namespace varve
