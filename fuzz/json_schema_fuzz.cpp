// Any bytes as a JSON schema, as a request brings it: it is refused with a sentence, or it becomes
// a grammar, and what that lets through at random is JSON when it is complete. The walk is drawn
// from the schema's own bytes.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "base/rng.h"
#include "grammar/grammar_compiler.h"
#include "grammar/token_constraint.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/utf8.h"

namespace {

using namespace varve;

constexpr int kSteps = 48;

void require(bool holds) {
  if (!holds) std::abort();
}

// A vocabulary of the 256 bytes, and of some longer pieces that JSON has.
Tokenizer byte_tokenizer() {
  nlohmann::json vocabulary;
  int32_t id = 0;
  int spare = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool is_shown = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
    std::string spelt;
    append_utf8(static_cast<uint32_t>(is_shown ? byte : spare++), spelt);
    vocabulary[spelt] = id++;
  }
  for (const char* const piece :
       {"{\"", "\":", "\",\"", "\"}", "[\"", "tr", "ue", "00", "\\u", "{}"}) {
    vocabulary[piece] = id++;
  }
  const nlohmann::json file = {
      {"version", "1.0"},
      {"normalizer", nullptr},
      {"added_tokens", nlohmann::json::array()},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", nlohmann::json::array()}}}};
  auto tokenizer = Tokenizer::parse(file.dump(), "vocabulary");
  require(tokenizer.has_value());
  return std::move(*tokenizer);
}

void walk(const Tokenizer& tokenizer, const CompiledGrammar& grammar, Rng& rng) {
  auto constraint = TokenConstraint::create(grammar);
  require(constraint.has_value());
  std::string text;
  for (int i = 0; i < kSteps; ++i) {
    const auto mask = constraint->allowed();
    require(mask.has_value());
    std::vector<int32_t> all;
    for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
      if (has_id(*mask, id)) all.push_back(id);
    }
    require(!all.empty() || constraint->is_complete());
    if (constraint->is_complete()) require(nlohmann::json::accept(text));
    if (all.empty()) return;
    const int32_t id = all[rng.below(all.size())];
    if (constraint->accept(id)) text += tokenizer.piece(id);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Tokenizer tokenizer = byte_tokenizer();
  static const auto compiler =
      GrammarCompiler::create(tokenizer, tokenizer.vocab_size(), {}).value();
  const std::string schema(reinterpret_cast<const char*>(data), size);
  const auto grammar = compiler->compile_json_schema(schema);
  if (!grammar) {
    const std::string& message = grammar.error().message;
    require(grammar.error().kind == ErrorKind::bad_input);
    require(!message.empty() && message.find('\n') == std::string::npos);
    return 0;
  }
  uint64_t seed = size;
  for (size_t i = 0; i < size; ++i) seed = seed * 31 + data[i];
  Rng rng(seed);
  for (int i = 0; i < 3; ++i) walk(tokenizer, *grammar, rng);
  return 0;
}
