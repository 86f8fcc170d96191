#include "chat/answer_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "chat/call_reader.h"
#include "chat/jinja/json.h"

namespace varve {
namespace {

using jinja::Value;

constexpr std::string_view kThink = "<think>";
// Line breaks before a marker that belong to it: DeepSeek-V4 writes two before its calls.
constexpr size_t kDsmlLines = 2;
constexpr size_t kMaxLines = 8;

size_t trailing_lines(std::string_view text, size_t at_most) {
  size_t n = 0;
  while (n < at_most && n < text.size() && text[text.size() - 1 - n] == '\n') ++n;
  return n;
}

// Bytes at the end of `text` that may be the beginning of `marker`.
size_t begun_bytes(std::string_view text, std::string_view marker) {
  if (marker.empty()) return 0;
  for (size_t n = std::min(text.size(), marker.size() - 1); n > 0; --n) {
    if (text.ends_with(marker.substr(0, n))) return n;
  }
  return 0;
}

class StreamParser : public AnswerParser {
 public:
  StreamParser(const AnswerSyntax& syntax, std::vector<std::string> tools)
      : syntax_(syntax), calls_(make_call_reader(syntax.calls, std::move(tools))) {
    if (syntax.reasoning == AnswerSyntax::Reasoning::open) {
      state_ = State::reasoning;
      skips_lines_ = syntax.trims_lines;
    }
    if (syntax.reasoning == AnswerSyntax::Reasoning::none) state_ = State::first_content;
  }

  std::vector<AnswerEvent> push(std::string_view text) override {
    held_ += text;
    while (step()) {
    }
    return std::exchange(events_, {});
  }
  std::vector<AnswerEvent> finish() override {
    is_over_ = true;
    std::vector<AnswerEvent> rest = push({});
    if (state_ == State::reasoning) complain("the reasoning has no end");
    return rest;
  }
  bool begins_in_reasoning() const override {
    return syntax_.reasoning == AnswerSyntax::Reasoning::open;
  }
  const std::optional<std::string>& complaint() const override { return complaint_; }

 private:
  enum class State { start, reasoning, first_content, content, calls };

  // Each takes what it can off held_; false: it needs more text.
  bool step();
  bool start();
  bool reasoning();
  bool first_content();
  bool content();
  bool read_calls();
  bool end_calls();

  void say(AnswerEvent::Kind kind, size_t n_bytes);
  void complain(std::string what) {
    if (!complaint_) complaint_ = std::move(what);
  }
  void look_for_special_tokens(std::string_view said);
  /// Says what stands before `marker` and the line breaks that belong to it. True: held_ begins
  /// with these and it.
  bool say_until(std::string_view marker, AnswerEvent::Kind kind, size_t n_lines);
  /// False: nothing but line breaks to be skipped has come.
  bool skip_lines();
  void begin_calls(size_t at) {
    state_ = State::calls;
    said_.clear();
    at_ = at;
    n_calls_ = 0;
  }
  size_t lines_of_calls() const {
    if (syntax_.trims_lines) return kMaxLines;
    return syntax_.calls == AnswerSyntax::Calls::dsml ? kDsmlLines : 0;
  }

  AnswerSyntax syntax_;
  std::unique_ptr<CallReader> calls_;
  State state_ = State::start;
  std::string held_;
  bool is_over_ = false;
  bool skips_lines_ = false;
  size_t at_ = 0;       // in held_: how far a block of calls was read
  size_t n_calls_ = 0;  // of the block
  std::vector<AnswerEvent> events_;
  std::optional<std::string> complaint_;
  std::string said_;  // the end of it, in which a special token may begin
};

void StreamParser::say(AnswerEvent::Kind kind, size_t n_bytes) {
  if (n_bytes == 0) return;
  events_.push_back({.kind = kind, .text = held_.substr(0, n_bytes)});
  look_for_special_tokens(events_.back().text);
  held_.erase(0, n_bytes);
}

void StreamParser::look_for_special_tokens(std::string_view said) {
  if (complaint_ || syntax_.special_tokens.empty()) return;
  said_ += said;
  size_t n_longest = 0;
  size_t first_end = said_.npos;  // however the text is cut, the first one to be complete is told
  std::string_view first;
  for (const std::string_view token : syntax_.special_tokens) {
    n_longest = std::max(n_longest, token.size());
    const size_t at = said_.find(token);
    if (at == said_.npos || at + token.size() >= first_end) continue;
    first_end = at + token.size();
    first = token;
  }
  if (!first.empty()) complain(fmt::format("it says the special token {}", first));
  said_.erase(0, said_.size() - std::min(said_.size(), n_longest - 1));
}

bool StreamParser::say_until(std::string_view marker, AnswerEvent::Kind kind, size_t n_lines) {
  const size_t found = marker.empty() ? held_.npos : held_.find(marker);
  size_t n = found;
  if (found == held_.npos) n = held_.size() - (is_over_ ? 0 : begun_bytes(held_, marker));
  if (found != held_.npos || (!is_over_ && !marker.empty())) {
    n -= trailing_lines(std::string_view(held_).substr(0, n), n_lines);
  }
  say(kind, n);
  return found != held_.npos;
}

bool StreamParser::skip_lines() {
  if (!skips_lines_) return true;
  held_.erase(0, std::min(held_.find_first_not_of('\n'), held_.size()));
  skips_lines_ = held_.empty();
  return !skips_lines_;
}

bool StreamParser::start() {
  const size_t begin = std::min(held_.find_first_not_of(" \t\r\n"), held_.size());
  const Match match = match_start(std::string_view(held_).substr(begin), kThink);
  if (match == Match::partial && !is_over_) return false;
  if (match != Match::whole) {
    state_ = State::first_content;
    return true;
  }
  held_.erase(0, begin + kThink.size());
  skips_lines_ = syntax_.trims_lines;
  state_ = State::reasoning;
  return true;
}

bool StreamParser::reasoning() {
  if (!skip_lines()) return false;
  const size_t n_lines = syntax_.trims_lines ? kMaxLines : 0;
  if (!say_until(kEndOfThinking, AnswerEvent::Kind::reasoning, n_lines)) return false;
  held_.erase(0, held_.find(kEndOfThinking) + kEndOfThinking.size());
  said_.clear();
  skips_lines_ = syntax_.trims_lines;
  state_ = State::first_content;
  return true;
}

bool StreamParser::first_content() {
  if (!skip_lines()) return false;
  const bool is_only_calls = calls_ != nullptr && calls_->opening().empty();
  const Match match = is_only_calls ? calls_->may_begin(held_) : Match::no;
  if (match == Match::partial && !is_over_) return false;
  if (match == Match::whole) {
    begin_calls(0);
  } else {
    state_ = State::content;
  }
  return true;
}

bool StreamParser::content() {
  if (!skip_lines()) return false;
  const std::string_view opening = calls_ == nullptr ? "" : calls_->opening();
  if (!say_until(opening, AnswerEvent::Kind::content, lines_of_calls())) return false;
  begin_calls(held_.find(opening) + opening.size());
  return true;
}

bool StreamParser::read_calls() {
  AnswerToolCall call;
  switch (calls_->read(held_, at_, call)) {
    case CallReader::Step::needs_more:
      return is_over_ && end_calls();
    case CallReader::Step::part:
      events_.push_back({.kind = AnswerEvent::Kind::call_part,
                         .text = std::exchange(call.arguments, {}),
                         .call = std::move(call)});
      return true;
    case CallReader::Step::call:
      events_.push_back(
          {.kind = AnswerEvent::Kind::tool_call, .text = {}, .call = std::move(call)});
      held_.erase(0, std::exchange(at_, 0));
      ++n_calls_;
      return true;
    case CallReader::Step::end:
      skips_lines_ = n_calls_ > 0;
      break;
    case CallReader::Step::malformed:
      break;
  }
  if (!skips_lines_ && !calls_->opening().empty()) complain("a block of tool calls is malformed");
  // What was no call is content, as far as it was read: behind it a new block may begin.
  if (skips_lines_) {
    held_.erase(0, at_);
  } else {
    say(AnswerEvent::Kind::content, at_);
  }
  state_ = State::content;
  return true;
}

// The text is over inside a block.
bool StreamParser::end_calls() {
  if (!calls_->opening().empty()) complain("a block of tool calls has no end");
  if (n_calls_ > 0 && calls_->is_missing_end(held_)) held_.clear();
  say(AnswerEvent::Kind::content, held_.size());
  return false;
}

bool StreamParser::step() {
  switch (state_) {
    case State::start:
      return start();
    case State::reasoning:
      return reasoning();
    case State::first_content:
      return first_content();
    case State::content:
      return content();
    case State::calls:
      return read_calls();
  }
  return false;
}

Value text_value(std::string_view text) {
  return Value::text(std::string(text));
}

// A dictionary of texts and of what lies at most one deeper than JSON may: never too deep.
Value dictionary(std::vector<std::pair<Value, Value>> entries) {
  return jinja::make_dict(std::move(entries)).value_or(Value::none());
}

Value call_value(const AnswerToolCall& call) {
  const Result<Value> parsed = jinja::from_json(call.arguments, "arguments");
  // Room for the dictionaries around them.
  const bool is_flat = parsed && parsed->depth() + 8 < jinja::kMaxValueDepth;
  Value function =
      dictionary({{text_value("name"), text_value(call.name)},
                  {text_value("arguments"), is_flat ? *parsed : text_value(call.arguments)}});
  return dictionary({{text_value("id"), text_value(call.id)},
                     {text_value("type"), text_value("function")},
                     {text_value("function"), std::move(function)}});
}

}  // namespace

std::unique_ptr<AnswerParser> make_answer_parser(const AnswerSyntax& syntax,
                                                 std::vector<std::string> tools) {
  return std::make_unique<StreamParser>(syntax, std::move(tools));
}

Value answer_message(const std::vector<AnswerEvent>& events) {
  std::string reasoning;
  std::string content;
  std::vector<Value> calls;
  for (const AnswerEvent& event : events) {
    switch (event.kind) {
      case AnswerEvent::Kind::reasoning:
        reasoning += event.text;
        break;
      case AnswerEvent::Kind::content:
        content += event.text;
        break;
      case AnswerEvent::Kind::call_part:
        break;
      case AnswerEvent::Kind::tool_call:
        calls.push_back(call_value(event.call));
        break;
    }
  }
  std::vector<std::pair<Value, Value>> fields = {{text_value("role"), text_value("assistant")}};
  if (!reasoning.empty())
    fields.emplace_back(text_value("reasoning_content"), text_value(reasoning));
  fields.emplace_back(text_value("content"), text_value(content));
  if (!calls.empty()) {
    fields.emplace_back(text_value("tool_calls"),
                        jinja::make_list(std::move(calls)).value_or(Value::none()));
  }
  return dictionary(std::move(fields));
}

}  // namespace varve
