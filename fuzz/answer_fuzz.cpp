// Any bytes as a model's answer, behind one byte that says how it is written: cut anywhere it gives
// the same events, no byte is invented, and calls have arguments that are JSON.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>

#include "chat/answer_parser.h"
#include "chat/jinja/json.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

constexpr std::array<std::string_view, 3> kSpecialTokens = {"<e>", "</think>", "｜DSML｜"};

struct Joined {
  std::string reasoning;
  std::string content;
  std::string calls;
  std::string complaint;
  std::map<std::string, std::string> parts;  // of arguments, by the ids of calls
};

void add(Joined& joined, const std::vector<varve::AnswerEvent>& events) {
  for (const varve::AnswerEvent& event : events) {
    switch (event.kind) {
      case varve::AnswerEvent::Kind::reasoning:
        joined.reasoning += event.text;
        break;
      case varve::AnswerEvent::Kind::content:
        joined.content += event.text;
        break;
      case varve::AnswerEvent::Kind::call_part:
        require(!event.text.empty() && !event.call.id.empty() && !event.call.name.empty());
        joined.parts[event.call.id] += event.text;
        break;
      case varve::AnswerEvent::Kind::tool_call: {
        const auto parts = joined.parts.find(event.call.id);
        require(parts == joined.parts.end() || parts->second == event.call.arguments);
        const auto arguments = varve::jinja::from_json(event.call.arguments, "arguments");
        require(arguments && arguments->dict() != nullptr);
        require(!event.call.name.empty());
        joined.calls += event.call.name + event.call.arguments;
        break;
      }
    }
  }
}

Joined parse(const varve::AnswerSyntax& syntax, std::string_view text, size_t piece) {
  const auto parser = varve::make_answer_parser(syntax);
  Joined joined;
  for (size_t at = 0; at < text.size(); at += piece) {
    add(joined, parser->push(text.substr(at, piece)));
  }
  add(joined, parser->finish());
  joined.complaint = parser->complaint().value_or("");
  return joined;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const varve::AnswerSyntax syntax = {
      .reasoning = static_cast<varve::AnswerSyntax::Reasoning>(data[0] % 3),
      .calls = static_cast<varve::AnswerSyntax::Calls>(data[0] / 4 % 4),
      .trims_lines = data[0] / 16 % 2 == 1,
      .special_tokens = kSpecialTokens};
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Joined whole = parse(syntax, text, size);
  const Joined cut = parse(syntax, text, data[0] / 32 + 1U);
  require(whole.reasoning == cut.reasoning);
  require(whole.content == cut.content);
  require(whole.calls == cut.calls);
  require(whole.complaint == cut.complaint);
  require(whole.reasoning.size() + whole.content.size() <= text.size());
  return 0;
}
