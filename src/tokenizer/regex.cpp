#include "tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <limits>
#include <new>
#include <utility>

#include "tokenizer/quote.h"

namespace varve {
namespace {

constexpr size_t kMaxPatternBytes = size_t{1} << 16;

// Steps that a match may take before it is given up: some for backtracking, and some for each byte
// of the text, so that one long run of white space is not an error.
constexpr uint64_t kBaseSteps = 1'000'000;
constexpr uint64_t kStepsPerByte = 64;
constexpr uint32_t kHeapLimitKib = 64 * 1024;

struct CompileContext {
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  ~CompileContext() { pcre2_compile_context_free(context); }
};

}  // namespace

RegexScratch::RegexScratch(size_t text_bytes)
    : match_data_(pcre2_match_data_create(1, nullptr)),
      context_(pcre2_match_context_create(nullptr)) {
  if (match_data_ == nullptr || context_ == nullptr) {
    pcre2_match_data_free(match_data_);
    pcre2_match_context_free(context_);
    throw std::bad_alloc();
  }
  const uint64_t steps = kBaseSteps + kStepsPerByte * static_cast<uint64_t>(text_bytes);
  pcre2_set_match_limit(context_, static_cast<uint32_t>(std::min<uint64_t>(
                                      steps, std::numeric_limits<uint32_t>::max())));
  pcre2_set_heap_limit(context_, kHeapLimitKib);
}

RegexScratch::~RegexScratch() {
  pcre2_match_data_free(match_data_);
  pcre2_match_context_free(context_);
}

void Regex::Deleter::operator()(pcre2_real_code_8* code) const {
  pcre2_code_free(code);
}

Result<Regex> Regex::compile(std::string_view pattern, const std::string& where) {
  if (pattern.size() > kMaxPatternBytes) {
    return bad_input("{}: expected a pattern of at most {} bytes, found {}", where,
                     kMaxPatternBytes, pattern.size());
  }
  auto translated = translate_pattern(pattern);
  if (!translated) {
    return bad_input("{}: the pattern {} {}", where, in_quotes(pattern),
                     translated.error().message);
  }
  auto regex = compile_native(*translated, where);
  if (regex) regex->pattern_ = std::string(pattern);
  return regex;
}

Result<Regex> Regex::compile_native(std::string_view pattern, const std::string& where) {
  CompileContext compile_context;
  if (compile_context.context == nullptr) throw std::bad_alloc();
  pcre2_set_newline(compile_context.context, PCRE2_NEWLINE_LF);
  int code = 0;
  PCRE2_SIZE offset = 0;
  Regex regex;
  regex.where_ = where;
  regex.pattern_ = std::string(pattern);
  regex.code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                  PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                                  &code, &offset, compile_context.context));
  if (regex.code_ == nullptr) {
    char reason[128] = "";
    pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(reason), sizeof(reason));
    return bad_input("{}: the pattern {} does not compile: {}", where, in_quotes(pattern), reason);
  }
  regex.jit_ = pcre2_jit_compile(regex.code_.get(), PCRE2_JIT_COMPLETE) == 0;
  return regex;
}

Regex::Found Regex::search(std::string_view subject, size_t from, RegexScratch& scratch) const {
  const auto text = reinterpret_cast<PCRE2_SPTR>(subject.data());
  int rc = PCRE2_ERROR_JIT_STACKLIMIT;
  if (jit_) {
    rc = pcre2_jit_match(code_.get(), text, subject.size(), from, 0, scratch.match_data_,
                         scratch.context_);
  }
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
    rc = pcre2_match(code_.get(), text, subject.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                     scratch.match_data_, scratch.context_);
  }
  if (rc == PCRE2_ERROR_NOMATCH) return {Outcome::no_match, 0, 0};
  if (rc < 0) return {Outcome::failed, 0, 0};
  const PCRE2_SIZE* const ends = pcre2_get_ovector_pointer(scratch.match_data_);
  if (ends[0] < from || ends[1] < ends[0]) return {Outcome::failed, 0, 0};
  return {Outcome::match, ends[0], ends[1]};
}

std::string Regex::failure() const {
  return fmt::format("{}: the pattern {} needs too many steps or too much memory on this text",
                     where_, in_quotes(pattern_));
}

}  // namespace varve
