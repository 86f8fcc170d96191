// For tests: tokenizers, and texts that a constraint lets through.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "grammar/grammar_compiler.h"
#include "grammar/token_constraint.h"
#include "tokenizer/tokenizer.h"

namespace varve {

inline Tokenizer tokenizer_of(const std::string& path) {
  auto tokenizer = Tokenizer::load(path);
  if (!tokenizer) {
    ADD_FAILURE() << tokenizer.error().message;
    std::abort();
  }
  return std::move(*tokenizer);
}

/// A vocabulary and its compiler.
struct TestVocabulary {
  explicit TestVocabulary(const std::string& path)
      : tokenizer(tokenizer_of(path)),
        // Some more logits than pieces, as models have them.
        compiler(GrammarCompiler::create(tokenizer, tokenizer.vocab_size() + 7, {}).value()) {
    for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
      const std::string_view piece = tokenizer.piece(id);
      if (piece.size() == 1 && !tokenizer.is_added(id)) byte_ids[piece.front()] = id;
    }
  }

  int n_ids() const { return tokenizer.vocab_size() + 7; }

  Tokenizer tokenizer;
  std::unique_ptr<GrammarCompiler> compiler;
  std::map<char, int32_t> byte_ids;
};

inline TestVocabulary& tiny_vocabulary() {
  static TestVocabulary vocabulary(VARVE_SOURCE_DIR "/models/varve-tiny/tokenizer.json");
  return vocabulary;
}

inline CompiledGrammar compiled(TestVocabulary& vocabulary, const std::string& schema) {
  auto grammar = vocabulary.compiler->compile_json_schema(schema);
  if (!grammar) {
    ADD_FAILURE() << schema << ": " << grammar.error().message;
    std::abort();
  }
  return *grammar;
}

/// Whether the text, byte by byte, may be written.
inline bool takes(TestVocabulary& vocabulary, TokenConstraint& constraint, std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [&](char c) { return constraint.accept(vocabulary.byte_ids.at(c)); });
}

/// Whether it may be all that is written.
inline bool fits(TestVocabulary& vocabulary, const CompiledGrammar& grammar,
                 std::string_view text) {
  TokenConstraint constraint = TokenConstraint::create(grammar).value();
  return takes(vocabulary, constraint, text) && constraint.is_complete();
}

/// A text by random tokens of those that are allowed, those with a quote or a bracket oftener; ""
/// where it does not end within n_tokens. `look` sees each state.
template <class Look>
std::string random_text(TestVocabulary& vocabulary, const CompiledGrammar& grammar, Rng& rng,
                        int n_tokens, Look look) {
  TokenConstraint constraint = TokenConstraint::create(grammar).value();
  std::string text;
  for (int i = 0; i < n_tokens; ++i) {
    const auto mask = constraint.allowed();
    EXPECT_TRUE(mask);
    look(text, *mask);
    std::vector<int32_t> all;
    std::vector<int32_t> closing;
    for (int32_t id = 0; id < vocabulary.n_ids(); ++id) {
      if (!has_id(*mask, id)) continue;
      all.push_back(id);
      const bool closes = vocabulary.tokenizer.piece(id).find_first_of("\"}]") != std::string::npos;
      if (closes) closing.push_back(id);
    }
    EXPECT_EQ(*constraint.is_finished(), all.empty());
    EXPECT_TRUE(!all.empty() || constraint.is_complete()) << text;
    if (constraint.is_complete() && (all.empty() || rng.below(4) == 0)) return text;
    if (all.empty()) return "";
    const auto& from = !closing.empty() && rng.below(6) == 0 ? closing : all;
    const int32_t id = from[rng.below(from.size())];
    EXPECT_TRUE(constraint.accept(id)) << text << " then id " << id;
    text += vocabulary.tokenizer.piece(id);
  }
  return "";
}

inline std::string random_text(TestVocabulary& vocabulary, const CompiledGrammar& grammar, Rng& rng,
                               int n_tokens) {
  return random_text(vocabulary, grammar, rng, n_tokens, [](const auto&, const auto&) {});
}

}  // namespace varve
