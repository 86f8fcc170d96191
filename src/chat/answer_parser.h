// What a model writes, taken apart as it comes: reasoning, content, calls of tools.
//
// However the text is cut into pieces, the joined events are the same. What may be the beginning of
// a marker is held back until more is known; what looks like a call and is none is content. Pieces
// of a call's arguments come before it is known to be one, for those who want to see them grow.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chat/jinja/value.h"

namespace varve {

/// What ends a reasoning: of models that reason a token of its own.
inline constexpr std::string_view kEndOfThinking = "</think>";

struct AnswerToolCall {
  std::string id;  // drawn at random: models write none
  std::string name;
  std::string arguments;  // the text of a JSON object
};

struct AnswerEvent {
  enum class Kind {
    reasoning,
    content,
    call_part,  // `text` is a piece of the arguments of `call`, which has an id and a name
    tool_call,  // all of it: if there were parts, its arguments are their texts joined
  } kind = Kind::content;
  std::string text = {};  // of all but whole calls; never empty there
  AnswerToolCall call = {};
};

class AnswerParser {
 public:
  virtual ~AnswerParser() = default;

  /// The events that are certain by now. `text` may be cut anywhere between characters; a call
  /// comes out when its last byte went in. Parts may also come of one that never ends, or turns out
  /// to be none: its text is content then.
  virtual std::vector<AnswerEvent> push(std::string_view text) = 0;
  /// No more text comes: the rest. To be called once, last.
  virtual std::vector<AnswerEvent> finish() = 0;

  /// Whether the text goes on in a reasoning that the request opened.
  virtual bool begins_in_reasoning() const = 0;

  /// What of the text so far is not as models are to write it, in some words; the first such thing.
  /// It is content all the same.
  virtual const std::optional<std::string>& complaint() const = 0;
};

/// How a model writes its answers.
struct AnswerSyntax {
  enum class Reasoning {
    none,
    open,     // the request ended inside it: it goes on to </think>
    optional  // the answer may begin with <think>
  } reasoning = Reasoning::none;
  enum class Calls {
    none,
    dsml,         // DeepSeek-V4's <｜DSML｜tool_calls> block
    tagged_json,  // <tool_call>{"name": .., "arguments": ..}</tool_call>
    bare_json     // the answer is {"name": .., "parameters": ..}, or several, `;` between them
  } calls = Calls::none;
  /// Line breaks beside </think> and calls belong to the markers.
  bool trims_lines = false;
  /// Texts that neither reasoning nor content is to have; they outlive the parser.
  std::span<const std::string_view> special_tokens = {};
};
/// `tools`: names of those that may be called, where they are known. JSON alone, without a marker,
/// is a call of one of them or content.
std::unique_ptr<AnswerParser> make_answer_parser(const AnswerSyntax& syntax,
                                                 std::vector<std::string> tools = {});

/// The message that events make: `role`, `content` and, where there are any, `reasoning_content`
/// and `tool_calls` as Hugging Face's templates read them.
jinja::Value answer_message(const std::vector<AnswerEvent>& events);

}  // namespace varve
