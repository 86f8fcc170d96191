// Calls of tools in the text of an answer, one reader for each way to write them.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "chat/answer_parser.h"

namespace varve {

/// How the beginning of a text and a marker stand to each other.
enum class Match { no, partial, whole };
Match match_start(std::string_view text, std::string_view marker);

/// Reads blocks of calls. It is told the same text again and again, longer each time, and remembers
/// how far it came.
class CallReader {
 public:
  enum class Step {
    needs_more,
    part,       // `call` has an id, a name and a further piece of its arguments
    call,       // `call` is the next one, `at` behind it
    end,        // of the block, at `at`
    malformed,  // what stands at `at` cannot be there
  };
  virtual ~CallReader() = default;

  /// Begins a block in content. Empty: only a whole answer is one (see may_begin).
  virtual std::string_view opening() const = 0;
  /// Where opening() is empty: whether an answer's first characters begin a block.
  virtual Match may_begin(std::string_view) const { return Match::no; }

  /// Reads on in `text` from `at`. Behind a call, `text` begins anew where the call ended.
  virtual Step read(std::string_view text, size_t& at, AnswerToolCall& call) = 0;
  /// Whether `text`, which ended too early behind a call, is no more than the missing end.
  virtual bool is_missing_end(std::string_view text) const = 0;
};

/// Null for Calls::none. `tools`: as of make_answer_parser.
std::unique_ptr<CallReader> make_call_reader(AnswerSyntax::Calls calls,
                                             std::vector<std::string> tools);

}  // namespace varve
