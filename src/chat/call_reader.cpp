#include "chat/call_reader.h"

#include <algorithm>
#include <array>
#include <optional>
#include <random>
#include <utility>

#include "chat/jinja/json.h"
#include "tokenizer/utf8.h"

namespace varve {
namespace {

using jinja::Value;

constexpr std::string_view kSpace = " \t\r\n";
// Of a tool or a parameter. What is longer is none.
constexpr size_t kMaxNameBytes = 1024;

std::string random_call_id() {
  constexpr std::string_view kLetters = "0123456789abcdefghijklmnopqrstuv";
  std::random_device device;
  std::string id = "call_";
  for (int word = 0; word < 4; ++word) {
    auto bits = static_cast<uint32_t>(device());
    for (int i = 0; i < 6; ++i, bits >>= 5) id += kLetters[bits & 31];
  }
  return id;
}

size_t behind_space(std::string_view text, size_t at) {
  return std::min(text.find_first_not_of(kSpace, at), text.size());
}

std::optional<std::string> json_text(const Value& value) {
  jinja::Budget budget((jinja::Limits()));
  Result<std::string> text = jinja::to_json(value, {}, budget);
  return text ? std::optional(std::move(*text)) : std::nullopt;
}

// Of the first n bytes those that are whole characters.
size_t whole_characters(std::string_view text, size_t n) {
  size_t begin = n;  // of the last one
  while (begin > 0 && n - begin < 4 &&
         (static_cast<unsigned char>(text[begin - 1]) & 0xC0) == 0x80) {
    --begin;
  }
  if (begin > 0 && static_cast<unsigned char>(text[begin - 1]) >= 0xC0) --begin;
  return is_utf8(text.substr(begin, n - begin)) ? n : begin;
}

// {"name": .., "arguments" or "parameters": ..}; the arguments may be a string of JSON.
bool read_json_call(std::string_view json, AnswerToolCall& call) {
  const Result<Value> root = jinja::from_json(json, "call");
  if (!root || root->dict() == nullptr) return false;
  const jinja::Dict& fields = *root->dict();
  const Value* const name = fields.find("name");
  if (name == nullptr || name->text() == nullptr || name->text()->empty()) return false;
  const Value* arguments = fields.find("arguments");
  if (arguments == nullptr) arguments = fields.find("parameters");
  if (arguments == nullptr) return false;
  Value unpacked = *arguments;
  if (arguments->text() != nullptr) {
    Result<Value> inner = jinja::from_json(*arguments->text(), "arguments");
    if (!inner) return false;
    unpacked = std::move(*inner);
  }
  if (unpacked.dict() == nullptr) return false;
  std::optional<std::string> text = json_text(unpacked);
  if (!text) return false;
  call = {.id = random_call_id(), .name = *name->text(), .arguments = std::move(*text)};
  return true;
}

// DeepSeek-V4's: tags with values of parameters between them, which nothing escapes: a value goes
// to the next closing tag.
class DsmlReader : public CallReader {
 public:
  std::string_view opening() const override { return "<｜DSML｜tool_calls>"; }
  Step read(std::string_view text, size_t& at, AnswerToolCall& call) override;
  bool is_missing_end(std::string_view text) const override {
    return match_start(text.substr(behind_space(text, 0)), kEnd) == Match::partial;
  }

 private:
  static constexpr std::string_view kEnd = "</｜DSML｜tool_calls>";
  static constexpr std::string_view kInvoke = "<｜DSML｜invoke name=\"";
  static constexpr std::string_view kEndInvoke = "</｜DSML｜invoke>";
  static constexpr std::string_view kParameter = "<｜DSML｜parameter name=\"";
  static constexpr std::string_view kEndParameter = "</｜DSML｜parameter>";
  static constexpr std::string_view kIsString = " string=\"true\">";
  static constexpr std::string_view kIsJson = " string=\"false\">";

  // Nothing where the step is done and reading goes on.
  std::optional<Step> read_tag(std::string_view text, size_t& at);
  std::optional<Step> read_name(std::string_view text, size_t& at);
  std::optional<Step> read_kind(std::string_view text, size_t& at);
  std::optional<Step> read_value(std::string_view text, size_t& at);
  bool begin_parameter();
  bool end_parameter(std::string_view value);
  /// Of a string parameter, up to `end` in `text`. False: it is no UTF-8.
  bool add_string(std::string_view text, size_t end);
  bool finish_call();
  /// Whether a call has arguments by now that no part had.
  bool has_news() const { return in_call_ && !parameters_.empty() && n_told_ < arguments_.size(); }
  Step tell(AnswerToolCall& part);
  Step hand_over(AnswerToolCall& call);
  void begin(bool in_call) {
    in_call_ = in_call;
    state_ = State::tag;
  }

  enum class State { tag, name, kind, value } state_ = State::tag;
  bool in_call_ = false;
  bool is_finished_ = false;  // and its last part was told
  std::string tool_;
  std::string parameter_;
  bool is_string_ = false;
  bool is_text_ = true;                  // what of it was looked at is UTF-8
  std::vector<std::string> parameters_;  // names of those of the call
  std::string id_;
  std::string arguments_;  // JSON, as far as it is known
  size_t n_told_ = 0;      // bytes of it that parts had
  size_t n_added_ = 0;     // bytes of the text whose part of a string is in arguments_
  size_t searched_ = 0;    // no closing tag begins before
};

std::optional<CallReader::Step> DsmlReader::read_tag(std::string_view text, size_t& at) {
  at = behind_space(text, at);
  const std::string_view rest = text.substr(at);
  const std::string_view opens = in_call_ ? kParameter : kInvoke;
  const std::string_view closes = in_call_ ? kEndInvoke : kEnd;
  const Match opening = match_start(rest, opens);
  const Match closing = match_start(rest, closes);
  if (opening == Match::whole) {
    at += opens.size();
    state_ = State::name;
    return std::nullopt;
  }
  if (closing == Match::whole) {
    at += closes.size();
    return in_call_ ? Step::call : Step::end;
  }
  const bool may_come = opening == Match::partial || closing == Match::partial;
  return may_come ? Step::needs_more : Step::malformed;
}

std::optional<CallReader::Step> DsmlReader::read_name(std::string_view text, size_t& at) {
  const std::string_view rest = text.substr(at, kMaxNameBytes);
  const size_t end = rest.find_first_of("\"\n");
  if (end == rest.npos) return rest.size() < kMaxNameBytes ? Step::needs_more : Step::malformed;
  if (end == 0 || rest[end] != '"') return Step::malformed;
  (in_call_ ? parameter_ : tool_) = rest.substr(0, end);
  at += end + 1;
  state_ = State::kind;
  return std::nullopt;
}

// What stands behind a name.
std::optional<CallReader::Step> DsmlReader::read_kind(std::string_view text, size_t& at) {
  const std::string_view rest = text.substr(at);
  if (!in_call_) {
    if (rest.empty()) return Step::needs_more;
    if (rest.front() != '>' || !is_utf8(tool_)) return Step::malformed;
    ++at;
    parameters_.clear();
    id_ = random_call_id();
    arguments_ = "{";
    n_told_ = 0;
    begin(true);
    return std::nullopt;
  }
  const Match string = match_start(rest, kIsString);
  const Match json = match_start(rest, kIsJson);
  if (string == Match::whole || json == Match::whole) {
    is_string_ = string == Match::whole;
    at += is_string_ ? kIsString.size() : kIsJson.size();
    state_ = State::value;
    searched_ = n_added_ = at;
    is_text_ = true;
    if (!begin_parameter()) return Step::malformed;
    return std::nullopt;
  }
  const bool may_come = string == Match::partial || json == Match::partial;
  return may_come ? Step::needs_more : Step::malformed;
}

std::optional<CallReader::Step> DsmlReader::read_value(std::string_view text, size_t& at) {
  const size_t end = text.find(kEndParameter, searched_);
  if (end == text.npos) {
    const size_t n = std::min(text.size() - at, kEndParameter.size() - 1);
    searched_ = std::max(searched_, text.size() - n);
    // What is no UTF-8 is malformed where the value ends, however the text was cut.
    is_text_ = is_text_ && (!is_string_ || add_string(text, whole_characters(text, searched_)));
    return Step::needs_more;
  }
  const std::string_view value = text.substr(at, end - at);
  const bool is_fine =
      is_string_ ? is_text_ && add_string(text, end) && end_parameter({}) : end_parameter(value);
  at = end + kEndParameter.size();
  if (!is_fine) return Step::malformed;
  state_ = State::tag;
  return std::nullopt;
}

bool DsmlReader::begin_parameter() {
  const bool is_known =
      std::find(parameters_.begin(), parameters_.end(), parameter_) != parameters_.end();
  if (is_known || !is_utf8(parameter_)) return false;
  const std::optional<std::string> key = json_text(Value::text(parameter_));
  if (!key) return false;
  if (!parameters_.empty()) arguments_ += ", ";
  arguments_ += *key;
  arguments_ += is_string_ ? ": \"" : ": ";
  parameters_.push_back(std::exchange(parameter_, {}));
  return true;
}

bool DsmlReader::add_string(std::string_view text, size_t end) {
  if (end <= n_added_) return true;
  const std::string_view piece = text.substr(n_added_, end - n_added_);
  if (!is_utf8(piece)) return false;
  const std::optional<std::string> quoted = json_text(Value::text(std::string(piece)));
  if (!quoted) return false;
  arguments_.append(*quoted, 1, quoted->size() - 2);
  n_added_ = end;
  return true;
}

bool DsmlReader::end_parameter(std::string_view value) {
  if (is_string_) {
    arguments_ += '"';
    return true;
  }
  if (!is_utf8(value) || !jinja::from_json(value, "parameter")) return false;
  arguments_ += value;
  return true;
}

bool DsmlReader::finish_call() {
  begin(false);
  arguments_ += '}';
  // Each value is JSON; all of them together may still be nested too deep.
  is_finished_ = jinja::from_json(arguments_, "arguments").has_value();
  return is_finished_;
}

CallReader::Step DsmlReader::tell(AnswerToolCall& part) {
  part = {.id = id_, .name = tool_, .arguments = arguments_.substr(n_told_)};
  n_told_ = arguments_.size();
  return Step::part;
}

CallReader::Step DsmlReader::hand_over(AnswerToolCall& call) {
  is_finished_ = false;
  call = {.id = std::move(id_), .name = std::move(tool_), .arguments = std::move(arguments_)};
  return Step::call;
}

CallReader::Step DsmlReader::read(std::string_view text, size_t& at, AnswerToolCall& call) {
  if (is_finished_) return hand_over(call);
  while (true) {
    std::optional<Step> step;
    switch (state_) {
      case State::tag:
        step = read_tag(text, at);
        break;
      case State::name:
        step = read_name(text, at);
        break;
      case State::kind:
        step = read_kind(text, at);
        break;
      case State::value:
        step = read_value(text, at);
        break;
    }
    if (!step) continue;
    if (*step == Step::needs_more) return has_news() ? tell(call) : Step::needs_more;
    if (*step == Step::call && finish_call()) {
      if (n_told_ > 0) return tell(call);
      return hand_over(call);
    }
    begin(false);
    return *step == Step::call ? Step::malformed : *step;
  }
}

// Hermes', which Qwen took over.
class TaggedJsonReader : public CallReader {
 public:
  std::string_view opening() const override { return "<tool_call>"; }
  bool is_missing_end(std::string_view) const override { return false; }
  Step read(std::string_view text, size_t& at, AnswerToolCall& call) override {
    // A block is one call: behind it the end comes with no further text.
    if (std::exchange(is_over_, false)) return Step::end;
    const size_t end = text.find(kClosing, std::max(at, searched_));
    if (end == text.npos) {
      const size_t n = std::min(text.size() - at, kClosing.size() - 1);
      searched_ = text.size() - n;
      return Step::needs_more;
    }
    searched_ = 0;
    const std::string_view json = text.substr(at, end - at);
    at = end + kClosing.size();
    is_over_ = read_json_call(json, call);
    return is_over_ ? Step::call : Step::malformed;
  }

 private:
  static constexpr std::string_view kClosing = "</tool_call>";
  size_t searched_ = 0;
  bool is_over_ = false;
};

// Llama 3's: the answer is JSON and nothing else.
class BareJsonReader : public CallReader {
 public:
  explicit BareJsonReader(std::vector<std::string> tools) : tools_(std::move(tools)) {}

  std::string_view opening() const override { return {}; }
  Match may_begin(std::string_view text) const override {
    const std::string_view rest = text.substr(behind_space(text, 0));
    if (rest.empty()) return Match::partial;
    return rest.front() == '{' ? Match::whole : match_start(rest, kTag);
  }
  bool is_missing_end(std::string_view text) const override {
    return behind(text, 0, kBetween) == text.size();
  }
  Step read(std::string_view text, size_t& at, AnswerToolCall& call) override;

 private:
  static constexpr std::string_view kTag = "<|python_tag|>";
  static constexpr std::string_view kBetween = " \t\r\n;";

  static size_t behind(std::string_view text, size_t at, std::string_view characters) {
    return std::min(text.find_first_not_of(characters, at), text.size());
  }
  // Where the object that is being read ends; nothing while it does not.
  std::optional<size_t> end_of_object(std::string_view text);

  // Any JSON may have these fields: it is a call where it names a tool.
  bool is_tool(const std::string& name) const {
    return tools_.empty() || std::find(tools_.begin(), tools_.end(), name) != tools_.end();
  }

  const std::vector<std::string> tools_;
  bool is_behind_call_ = false;
  size_t begin_ = std::string_view::npos;  // of the object
  size_t scanned_ = 0;
  int depth_ = 0;
  bool in_string_ = false;
  bool is_escaped_ = false;
};

std::optional<size_t> BareJsonReader::end_of_object(std::string_view text) {
  for (; scanned_ < text.size(); ++scanned_) {
    const char c = text[scanned_];
    if (in_string_) {
      if (!std::exchange(is_escaped_, false)) {
        is_escaped_ = c == '\\';
        in_string_ = c != '"';
      }
      continue;
    }
    in_string_ = c == '"';
    if (c == '{') ++depth_;
    if (c == '}' && --depth_ == 0) return ++scanned_;
  }
  return std::nullopt;
}

CallReader::Step BareJsonReader::read(std::string_view text, size_t& at, AnswerToolCall& call) {
  if (begin_ == text.npos) {
    at = behind(text, 0, is_behind_call_ ? kBetween : kSpace);
    if (at == text.size()) return Step::needs_more;
    const Match tag = is_behind_call_ ? Match::no : match_start(text.substr(at), kTag);
    if (tag == Match::partial) return Step::needs_more;
    if (tag == Match::whole) at = behind(text, at + kTag.size(), kSpace);
    if (at == text.size()) return Step::needs_more;
    if (text[at] != '{') {
      if (!is_behind_call_) return Step::malformed;
      at = 0;  // what follows, with what stands before it, is content
      return Step::end;
    }
    begin_ = scanned_ = at;
    depth_ = 0;
  }
  const std::optional<size_t> end = end_of_object(text);
  if (!end) return Step::needs_more;
  const std::string_view json = text.substr(begin_, *end - begin_);
  at = *end;
  begin_ = text.npos;
  is_behind_call_ = read_json_call(json, call) && is_tool(call.name);
  return is_behind_call_ ? Step::call : Step::malformed;
}

}  // namespace

Match match_start(std::string_view text, std::string_view marker) {
  if (text.starts_with(marker)) return Match::whole;
  return marker.starts_with(text) ? Match::partial : Match::no;
}

std::unique_ptr<CallReader> make_call_reader(AnswerSyntax::Calls calls,
                                             std::vector<std::string> tools) {
  switch (calls) {
    case AnswerSyntax::Calls::dsml:
      return std::make_unique<DsmlReader>();
    case AnswerSyntax::Calls::tagged_json:
      return std::make_unique<TaggedJsonReader>();
    case AnswerSyntax::Calls::bare_json:
      return std::make_unique<BareJsonReader>(std::move(tools));
    case AnswerSyntax::Calls::none:
      break;
  }
  return nullptr;
}

}  // namespace varve
