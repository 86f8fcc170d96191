#include "chat/template_answers.h"

#include <gtest/gtest.h>

namespace varve {
namespace {

// In the manner of ChatML: CALLS in `source` are what writes calls, as tagged JSON.
std::string with_calls(std::string_view source) {
  constexpr std::string_view kPlace = "CALLS";
  constexpr std::string_view kCalls =
      "{% for c in m.tool_calls %}<tool_call>\n{{ {'name': c.function.name, "
      "'arguments': c.function.arguments} | tojson }}\n</tool_call>{% if not loop.last %}\n"
      "{% endif %}{% endfor %}";
  const size_t at = source.find(kPlace);
  return std::string(source.substr(0, at)).append(kCalls).append(source.substr(at + kPlace.size()));
}

constexpr std::string_view kPlain =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}CALLS"
    "</>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";

// A question, two calls with their results, and what was written there.
constexpr std::string_view kMessages = R"({"add_generation_prompt": true, "tools": [
    {"type": "function", "function": {"name": "f"}}], "messages": [
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": "a", "tool_calls": [{"id": "1", "type": "function",
      "function": {"name": "f", "arguments": {"x": 1}}}]},
    {"role": "tool", "tool_call_id": "1", "content": "t1"},
    {"role": "assistant", "content": "", "tool_calls": [{"id": "2", "type": "function",
      "function": {"name": "f", "arguments": {"y": 2}}}]},
    {"role": "tool", "tool_call_id": "2", "content": "t2"}]})";
const std::string kFirst = "a<tool_call>{\"arguments\":{\"x\":1},\"name\":\"f\"}</tool_call>";
const std::string kSecond = "<tool_call>{\"name\":\"f\",\"arguments\":{\"y\":2}}</tool_call>";

class RawAnswersInTemplates : public testing::Test {
 protected:
  // As it was sent, and with what was written.
  std::pair<std::string, std::string> rendered(std::string_view source) const {
    const auto format = make_template_format(with_calls(source), "t", {}).value();
    ChatRequest request = request_;
    std::string with_raw = format->render(request).value();
    request.raw_answers = {};
    return {format->render(request).value(), std::move(with_raw)};
  }
  void expect_as_sent(std::string_view source) const {
    const auto [sent, with_raw] = rendered(source);
    EXPECT_EQ(with_raw, sent) << source;
    EXPECT_NE(sent.find("\"y\": 2"), sent.npos);
  }
  static ChatRequest request() {
    ChatRequest request = parse_chat_request(kMessages, "test").value();
    request.raw_answers = {{1, {kFirst}}, {3, {kSecond}}};
    return request;
  }

  ChatRequest request_ = request();
};

TEST_F(RawAnswersInTemplates, StandForTurnsThatSayTheSame) {
  EXPECT_EQ(rendered(kPlain).second, "<user>q</><assistant>" + kFirst +
                                         "</><tool>t1</><assistant>" + kSecond +
                                         "</><tool>t2</><assistant>");
  request_.raw_answers.erase(1);
  EXPECT_EQ(rendered(kPlain).second,
            "<user>q</><assistant>a<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n"
            "</tool_call></><tool>t1</><assistant>" +
                kSecond + "</><tool>t2</><assistant>");
}

TEST_F(RawAnswersInTemplates, TemplatesThatLookBackAtCallsSeeThem) {
  // Results under the names of their calls.
  expect_as_sent(
      "{% set ns = namespace(name='') %}{% for m in messages %}{% for c in m.tool_calls %}"
      "{% set ns.name = c.function.name %}{% endfor %}<{{ m.role }} {{ ns.name }}>{{ m.content "
      "}}CALLS</>{% endfor %}<assistant>");
  // Results that are there only behind calls.
  expect_as_sent(
      "{% set ns = namespace(calls=false) %}{% for m in messages %}{% if m.role != 'tool' or "
      "ns.calls %}<{{ m.role }}>{{ m.content }}CALLS</>{% endif %}{% if m.role == 'assistant' %}{% "
      "set ns.calls = 'tool_calls' in m %}{% endif "
      "%}{% endfor %}"
      "<assistant>");
  // Other ends.
  expect_as_sent(
      "{% for m in messages %}<{{ m.role }}>{{ m.content }}CALLS{{ '<more>' if m.tool_calls else "
      "'</>' }}{% endfor %}<assistant>");
  // A refusal.
  expect_as_sent(
      "{% for m in messages %}{% if m.role == 'tool' and not messages[loop.index0 - 1].tool_calls "
      "%}{{ raise_exception('no call') }}{% endif %}<{{ m.role }}>{{ m.content }}CALLS</>{% endfor "
      "%}<assistant>");
  // Content that is not shown where it stands.
  expect_as_sent(
      "{{ messages[1].content }}|{% for m in messages %}<{{ m.role }}>{{ m.content }}CALLS</>{% "
      "endfor %}<assistant>");
}

TEST_F(RawAnswersInTemplates, TheTemplatesRulesForReasoningHold) {
  request_.raw_answers[1].text = "<think>why</think>\n" + kFirst;
  request_.raw_answers[3].text = "<think>how</think>" + kSecond;
  const std::string template_text =
      "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' and loop.index0 < 3 %}"
      "{{ m.content.split('</think>')[-1].lstrip('\\n') }}{% else %}{{ m.content }}{% endif "
      "%}CALLS</>{% endfor %}<assistant>";
  EXPECT_EQ(rendered(template_text).second, "<user>q</><assistant>" + kFirst +
                                                "</><tool>t1</><assistant><think>how</think>" +
                                                kSecond + "</><tool>t2</><assistant>");
  // An opened one.
  request_.raw_answers[3].text = "how</think>" + kSecond;
  EXPECT_TRUE(rendered(template_text)
                  .second.ends_with("how</think>" + kSecond + "</><tool>t2</><assistant>"));
}

TEST_F(RawAnswersInTemplates, OneThatDoesNotFitLeavesTheOthers) {
  for (const std::string& text : {kFirst + "more", std::string("a"), kSecond, std::string("</>")}) {
    request_.raw_answers[1].text = text;
    EXPECT_EQ(rendered(kPlain).second,
              "<user>q</><assistant>a<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n"
              "</tool_call></><tool>t1</><assistant>" +
                  kSecond + "</><tool>t2</><assistant>")
        << text;
  }
  // A message that says something else, and one that is not there.
  request_.raw_answers[3].text = kFirst;
  request_.raw_answers[9].text = kFirst;
  const auto [sent, with_raw] = rendered(kPlain);
  EXPECT_EQ(with_raw, sent);
}

}  // namespace
}  // namespace varve
