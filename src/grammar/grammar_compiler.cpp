#include "grammar/grammar_compiler.h"

#include <algorithm>
#include <exception>
#include <vector>

#include "grammar/json_schema.h"
#include "grammar/xgrammar_parts.h"

namespace varve {
namespace {

// Of the vocabulary: two copies of each piece, its place in their order, and more.
constexpr size_t kBytesPerToken = 96;

// Places of the rules that each grammar has: strings, any value.
constexpr int64_t kFixedPositions = 64;
// What has no share in the vocabulary: rules, automata; of a schema full of literals 12 MB.
constexpr size_t kRuleBytes = size_t{16} << 20;

// The largest grammar has a mask of about a byte a token for each of its places.
size_t largest_grammar_bytes(int vocab_size) {
  return static_cast<size_t>(kMaxGrammarPositions + kFixedPositions) *
             static_cast<size_t>(vocab_size) +
         kRuleBytes;
}

// Of grammars that are kept or in use, when another one is made.
size_t alive_bytes(int vocab_size) {
  return std::max(size_t{16} << 20, largest_grammar_bytes(vocab_size));
}

// The key under which any object is kept; no schema.
constexpr std::string_view kAnyObject = "any object";

}  // namespace

struct GrammarCompiler::Parts {
  xgrammar::GrammarCompiler compiler;
  int vocab_size = 0;
};

Error xgrammar_error(const std::exception& error) {
  // "[12:00:00] FILE:LINE: what happened"
  std::string text = error.what();
  std::replace(text.begin(), text.end(), '\n', ' ');
  text.erase(text.find_last_not_of(' ') + 1);
  return {ErrorKind::internal, fmt::format("the grammar of the output has failed: {}", text)};
}

size_t CompiledGrammar::bytes() const {
  return parts_->grammar.MemorySizeBytes();
}

GrammarCompiler::GrammarCompiler(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

GrammarCompiler::~GrammarCompiler() = default;

size_t GrammarCompiler::memory_bytes(int vocab_size) {
  return static_cast<size_t>(vocab_size) * kBytesPerToken + alive_bytes(vocab_size) +
         largest_grammar_bytes(vocab_size);
}

Result<std::unique_ptr<GrammarCompiler>> GrammarCompiler::create(const Tokenizer& tokenizer,
                                                                 int vocab_size,
                                                                 std::span<const int32_t> no_text) {
  std::vector<std::string> pieces(static_cast<size_t>(vocab_size));
  for (int32_t id = 0; id < std::min(vocab_size, tokenizer.vocab_size()); ++id) {
    const bool is_text =
        !tokenizer.is_added(id) && std::find(no_text.begin(), no_text.end(), id) == no_text.end();
    if (is_text) pieces[static_cast<size_t>(id)] = tokenizer.piece(id);
  }
  try {
    // Ends are for those to allow who know what ends a text; one thread; nothing is kept by it.
    const xgrammar::TokenizerInfo vocabulary(pieces, xgrammar::VocabType::RAW, vocab_size,
                                             std::vector<int32_t>());
    return std::unique_ptr<GrammarCompiler>(new GrammarCompiler(std::make_unique<Parts>(
        Parts{xgrammar::GrammarCompiler(vocabulary, 1, false), vocab_size})));
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    return tl::unexpected(xgrammar_error(error));
  }
}

std::optional<CompiledGrammar> GrammarCompiler::find(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto found =
      std::find_if(kept_.begin(), kept_.end(), [&](const Kept& kept) { return kept.key == key; });
  if (found == kept_.end()) return std::nullopt;
  kept_.splice(kept_.begin(), kept_, found);
  return kept_.front().grammar;
}

std::optional<CompiledGrammar> GrammarCompiler::kept(const std::string& schema) {
  return find(schema.empty() ? std::string(kAnyObject) : schema);
}

bool GrammarCompiler::make_room() {
  const std::lock_guard lock(mutex_);
  const size_t limit = alive_bytes(parts_->vocab_size);
  const auto n_bytes = [&] {
    size_t sum = 0;
    for (auto one = alive_.begin(); one != alive_.end();) {
      const auto parts = one->lock();
      sum += parts == nullptr ? 0 : parts->grammar.MemorySizeBytes();
      one = parts == nullptr ? alive_.erase(one) : std::next(one);
    }
    return sum;
  };
  while (kept_.size() >= kMaxKept) kept_.pop_back();
  while (n_bytes() > limit) {
    if (kept_.empty()) return false;
    kept_.pop_back();
  }
  return true;
}

Result<CompiledGrammar> GrammarCompiler::compile(std::string key, const std::string& grammar) {
  if (!make_room()) {
    return usage_error("schemas that are in use take up the memory for them; try again later");
  }
  try {
    CompiledGrammar compiled(std::make_shared<const CompiledGrammar::Parts>(
        CompiledGrammar::Parts{parts_->compiler.CompileGrammar(grammar), parts_->vocab_size}));
    const size_t limit = largest_grammar_bytes(parts_->vocab_size);
    if (const size_t n_bytes = compiled.bytes(); n_bytes > limit) {
      return bad_input("schema at `#`: it is too large: its grammar takes {} bytes, expected {}",
                       n_bytes, limit);
    }
    const std::lock_guard lock(mutex_);
    alive_.push_back(compiled.parts_);
    kept_.push_front({std::move(key), compiled});
    return compiled;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    return tl::unexpected(xgrammar_error(error));
  }
}

Result<CompiledGrammar> GrammarCompiler::compile_json_schema(const std::string& schema) {
  const std::lock_guard lock(compiling_);
  if (const auto kept = find(schema)) return *kept;
  VARVE_TRY(const JsonSchema read, read_json_schema(schema));
  VARVE_TRY(const std::string grammar, grammar_of_schema(read));
  return compile(schema, grammar);
}

Result<CompiledGrammar> GrammarCompiler::compile_any_object() {
  const std::lock_guard lock(compiling_);
  if (const auto kept = find(std::string(kAnyObject))) return *kept;
  return compile(std::string(kAnyObject), grammar_of_any_object());
}

}  // namespace varve
