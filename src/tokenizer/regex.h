// A pattern of the pre-tokenizer, matched by PCRE2's JIT on UTF-8 with Unicode properties.
//
// Patterns are written for Oniguruma (Ruby syntax). The two syntaxes agree on nearly all that
// tokenizers use; what differs is translated (translate_pattern), and what cannot be is refused.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;
struct pcre2_real_match_context_8;

namespace varve {

/// The pattern in PCRE2's syntax. Errors name the construct that has no equal there.
Result<std::string> translate_pattern(std::string_view pattern);

/// What one thread needs to match with; made for texts of at most `text_bytes`.
class RegexScratch {
 public:
  explicit RegexScratch(size_t text_bytes);
  ~RegexScratch();
  RegexScratch(const RegexScratch&) = delete;
  RegexScratch& operator=(const RegexScratch&) = delete;

 private:
  friend class Regex;
  pcre2_real_match_data_8* match_data_;
  pcre2_real_match_context_8* context_;
};

class Regex {
 public:
  /// `where` begins error messages: the file and the field that the pattern comes from.
  static Result<Regex> compile(std::string_view pattern, const std::string& where);

  /// The same for a pattern in PCRE2's own syntax.
  static Result<Regex> compile_native(std::string_view pattern, const std::string& where);

  enum class Outcome { match, no_match, failed };
  struct Found {
    Outcome outcome;
    size_t begin, end;  // byte offsets into the subject
  };

  /// The first match that starts at or after `from`. `subject` has to be well-formed UTF-8 and
  /// `from` the start of a character. A match that the JIT has no stack for is tried again by the
  /// interpreter; `failed` means that this, too, ran past its limit of steps or memory.
  Found search(std::string_view subject, size_t from, RegexScratch& scratch) const;

  /// A sentence for Outcome::failed.
  std::string failure() const;

 private:
  struct Deleter {
    void operator()(pcre2_real_code_8* code) const;
  };

  std::unique_ptr<pcre2_real_code_8, Deleter> code_;
  bool jit_ = false;  // false where the system forbids executable memory: then interpreted
  std::string where_;
  std::string pattern_;
};

}  // namespace varve
