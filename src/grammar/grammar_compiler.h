// From a JSON schema to what a model's tokens may spell: xgrammar's automata over its vocabulary.
//
// xgrammar stays in this folder: none of its types is in a header, none of its exceptions gets out.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "base/result.h"
#include "tokenizer/tokenizer.h"

namespace varve {

/// A grammar made ready for one vocabulary. Immutable; copies share it.
class CompiledGrammar {
 public:
  size_t bytes() const;

 private:
  friend class GrammarCompiler;
  friend class TokenConstraint;
  struct Parts;
  explicit CompiledGrammar(std::shared_ptr<const Parts> parts) : parts_(std::move(parts)) {}

  std::shared_ptr<const Parts> parts_;
};

/// Its members may be called from several threads; one compiles at a time, in its own thread. Not
/// on the engine's: for 129,280 tokens a schema of some objects, strings and numbers takes 30 to
/// 120 ms, and 16 to 25 ms more for each character that a string may have at most (up to 128) or a
/// pattern describes; the largest that is taken 10 s. Without such strings 0.4 s at most.
class GrammarCompiler {
 public:
  /// What is compiled is kept until so many others were used after it, or the room is needed.
  static constexpr size_t kMaxKept = 32;

  /// Copies the vocabulary, which takes 35 ms and 9 MiB for 129,280 tokens. `vocab_size`: of the
  /// model's logits. Ids of `no_text`, added tokens (which end a turn, or begin one) and those
  /// without a piece are in no text. Error (internal): xgrammar refuses the vocabulary.
  static Result<std::unique_ptr<GrammarCompiler>> create(const Tokenizer& tokenizer, int vocab_size,
                                                         std::span<const int32_t> no_text);
  ~GrammarCompiler();
  GrammarCompiler(const GrammarCompiler&) = delete;
  GrammarCompiler& operator=(const GrammarCompiler&) = delete;

  /// Errors: those of read_json_schema and grammar_of_schema (bad_input, json_schema.h); grammars
  /// that are in use take up the memory for them (usage); one takes more than memory_bytes() has
  /// for it (bad_input).
  Result<CompiledGrammar> compile_json_schema(const std::string& schema);
  /// Any JSON object.
  Result<CompiledGrammar> compile_any_object();
  /// The same where it is kept; empty `schema`: of any object. Does not wait for who compiles.
  std::optional<CompiledGrammar> kept(const std::string& schema);

  /// What a compiler takes of memory, at most: vocabulary, grammars that are kept or in use, one
  /// that is made. 195 MB for 129,280 tokens.
  static size_t memory_bytes(int vocab_size);

 private:
  struct Parts;
  struct Kept {
    std::string key;
    CompiledGrammar grammar;
  };
  explicit GrammarCompiler(std::unique_ptr<Parts> parts);
  /// While compiling_ is held.
  Result<CompiledGrammar> compile(std::string key, const std::string& grammar);
  /// Makes room for one more by what nobody uses. False: there is none.
  bool make_room();
  std::optional<CompiledGrammar> find(const std::string& key);

  const std::unique_ptr<Parts> parts_;
  std::mutex compiling_;  // one at a time
  std::mutex mutex_;      // of what follows
  std::list<Kept> kept_;  // those used last stand first
  std::list<std::weak_ptr<const CompiledGrammar::Parts>> alive_;
};

}  // namespace varve
