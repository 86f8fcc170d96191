#include "chat/answer_memory.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "chat/transcript.h"
#include "tokenizer/test_tokenizer_json.h"

namespace varve {
namespace {

using Kind = AnswerEvent::Kind;
using Raw = std::map<size_t, std::string>;  // texts

AnswerEvent call_event(std::string id, std::string arguments) {
  return {.kind = Kind::tool_call, .text = {}, .call = {std::move(id), "f", std::move(arguments)}};
}

// Thought "r", said "a", called f with `id`.
std::vector<AnswerEvent> answered(std::string id) {
  return {{.kind = Kind::reasoning, .text = "r"},
          {.kind = Kind::content, .text = " a\n"},
          call_event(std::move(id), R"({"x": 1.0, "y": {"b": [1, "s"], "a": null}})")};
}

RawAnswer thought(std::string text) {
  return {.text = std::move(text), .is_thought = true};
}

Raw recalled(AnswerMemory& memory, const std::string& message) {
  ChatRequest request = parse_chat_request("[" + message + "]", "test").value();
  memory.recall(request);
  Raw texts;
  for (const auto& [i, raw] : request.raw_answers) {
    EXPECT_TRUE(raw.is_thought);
    texts[i] = raw.text;
  }
  return texts;
}

std::string sent_back(std::string_view id, std::string_view arguments,
                      std::string_view more = R"(, "content": "a")") {
  return fmt::format(R"({{"role": "assistant"{}, "tool_calls": [{{"id": "{}", "type": "function",
                         "function": {{"name": "f", "arguments": {}}}}}]}})",
                     more, id, arguments);
}

TEST(AnswerMemory, ATurnThatSaysTheSameIsKnown) {
  AnswerMemory memory({});
  memory.remember(answered("1"), thought("raw"));
  const Raw raw = {{0, "raw"}};
  constexpr std::string_view kSame = R"({"y": {"a": null, "b": [1, "s"]}, "x": 1})";
  EXPECT_EQ(recalled(memory, sent_back("1", kSame)), raw);
  EXPECT_EQ(
      recalled(memory, sent_back("1", R"("{\"x\":1,\"y\":{\"b\":[1,\"\uFDD0s\"],\"a\":null}}")")),
      raw);
  EXPECT_EQ(
      recalled(memory, sent_back("1", kSame, R"(, "content": "a", "reasoning_content": "r")")),
      raw);
  EXPECT_EQ(recalled(memory, sent_back("1", kSame, R"(, "content": "\uFDD0a")")), raw);
}

TEST(AnswerMemory, ATurnThatWasChangedIsNot) {
  AnswerMemory memory({});
  memory.remember(answered("1"), thought("raw"));
  constexpr std::string_view kSame = R"({"x": 1, "y": {"b": [1, "s"], "a": null}})";
  ASSERT_FALSE(recalled(memory, sent_back("1", kSame)).empty());
  for (const std::string& message :
       {sent_back("2", kSame), sent_back("1", R"({"x": 1})"), sent_back("1", R"("{")"),
        sent_back("1", R"({"x": 2, "y": {"b": [1, "s"], "a": null}})"),
        sent_back("1", kSame, R"(, "content": "b")"), sent_back("1", kSame, ""),
        sent_back("1", kSame, R"(, "content": "a", "reasoning_content": "s")"),
        std::string(R"({"role": "assistant", "content": "a"})"),
        std::string(R"({"role": "assistant", "tool_calls": [5]})"),
        std::string(R"({"role": "assistant", "tool_calls": [{"id": "1"}]})"),
        std::string(R"({"role": "tool", "tool_call_id": "1", "content": "a"})")}) {
    EXPECT_TRUE(recalled(memory, message).empty()) << message;
  }
}

TEST(AnswerMemory, AllCallsOfATurnCount) {
  AnswerMemory memory({});
  memory.remember({call_event("1", "{}"), call_event("2", "{}")}, thought("raw"));
  EXPECT_TRUE(recalled(memory, sent_back("1", "{}", "")).empty());
  memory.remember({{.kind = Kind::content, .text = "no calls"}}, thought("no calls"));
  EXPECT_EQ(memory.n_answers(), 1U);
  memory.remember({call_event("1", "{}")}, thought("new"));
  EXPECT_EQ(memory.n_answers(), 1U);
  EXPECT_EQ(recalled(memory, sent_back("1", "{}", "")), (Raw{{0, "new"}}));
}

TEST(AnswerMemory, WhatWasNotUsedForLongestGoes) {
  const auto knows = [](AnswerMemory& memory, std::string_view id) {
    return !recalled(memory, sent_back(id, "{}", "")).empty();
  };
  AnswerMemory memory({.n_answers = 2});
  memory.remember({call_event("1", "{}")}, thought("a"));
  memory.remember({call_event("2", "{}")}, thought("b"));
  EXPECT_TRUE(knows(memory, "1"));
  memory.remember({call_event("3", "{}")}, thought("c"));
  EXPECT_TRUE(knows(memory, "1"));
  EXPECT_FALSE(knows(memory, "2"));
  EXPECT_TRUE(knows(memory, "3"));

  AnswerMemory small({.n_answers = 9, .n_bytes = 1000});
  small.remember({call_event("1", "{}")}, thought(std::string(500, 'x')));
  small.remember({call_event("2", "{}")}, thought(std::string(500, 'x')));
  small.remember({call_event("3", "{}")}, thought(std::string(1001, 'x')));
  EXPECT_EQ(small.n_answers(), 1U);
  EXPECT_TRUE(knows(small, "2"));
}

// A turn as a client sends it back, rendered and tokenized: what was sampled keeps its ids.
class SentBack : public testing::Test {
 protected:
  // The transcript's ids after a second request, and how many of them the first one knew.
  void expect_all_known(const ChatFormat& format, const std::string& answer, std::string_view sent,
                        std::string_view variables) const {
    const auto request_of = [&](const std::string& messages) {
      ChatRequest request =
          parse_chat_request(fmt::format(R"({{{}"tools": [{{"type": "function", "function":
                                             {{"name": "f"}}}}], "messages": [{}]}})",
                                         variables, messages),
                             "test")
              .value();
      request.add_generation_prompt = true;
      return request;
    };
    const std::string question = R"({"role": "user", "content": "q"})";
    const ChatRequest asked = request_of(question);
    Transcript transcript(tokenizer_);
    ASSERT_TRUE(transcript.continue_to(format.render(asked).value()));
    const auto parser = format.answer_parser(asked);
    std::vector<AnswerEvent> events = parser->push(answer);
    for (AnswerEvent& event : parser->finish()) events.push_back(std::move(event));
    // Sampled one byte a token, as no tokenizer with merges would do it.
    std::vector<int32_t> ids;
    for (const char c : answer) {
      ids.push_back(tokenizer_.encode(std::string(1, c)).value().at(0));
    }
    transcript.add_answer(ids, answer);
    const std::vector<int32_t> known = transcript.ids();

    AnswerMemory memory({});
    memory.remember(events, {answer, parser->begins_in_reasoning()});
    ASSERT_EQ(memory.n_answers(), 1U);
    std::string id;
    for (const AnswerEvent& event : events) {
      if (event.kind == Kind::tool_call) id = event.call.id;
    }
    ChatRequest again = request_of(question + ", " + sent_back(id, sent, "") +
                                   R"(, {"role": "tool", "content": "t"})");
    const std::string rendered = format.render(again).value();
    EXPECT_LT(transcript.common_bytes(rendered), rendered.find("t</"));
    EXPECT_EQ(rendered.find(answer), rendered.npos);
    memory.recall(again);
    ASSERT_TRUE(transcript.continue_to(format.render(again).value()));
    ASSERT_GT(transcript.ids().size(), known.size());
    EXPECT_TRUE(std::equal(known.begin(), known.end(), transcript.ids().begin()));
  }

  const Tokenizer tokenizer_ = Tokenizer::parse(byte_level_json().dump(), "test.json").value();
};

TEST_F(SentBack, ToDeepseekV4) {
  DeepseekV4Texts texts;
  texts.tools = "T{tool_schemas}";
  expect_all_known(*make_deepseek_v4_format(texts),
                   "why</think>\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n"
                   "<｜DSML｜parameter name=\"y\" string=\"false\">1.0</｜DSML｜parameter>\n"
                   "<｜DSML｜parameter name=\"x\" string=\"false\">[1,2]</｜DSML｜parameter>\n"
                   "</｜DSML｜invoke>\n</｜DSML｜tool_calls>",
                   R"({"x": [1, 2], "y": 1})", R"("thinking": true, )");
}

TEST_F(SentBack, ToATemplate) {
  constexpr std::string_view kTemplate =
      "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls %}"
      "<tool_call>{{ {'name': c.function.name, 'arguments': c.function.arguments} | tojson }}"
      "</tool_call>{% endfor %}</>{% endfor %}"
      "{% if add_generation_prompt %}<assistant>{% endif %}";
  expect_all_known(*make_template_format(kTemplate, "t", {}).value(),
                   "<tool_call>\n{\"arguments\":{\"y\":1,\"x\":2},\"name\":\"f\"}\n</tool_call>",
                   R"({"x": 2, "y": 1})", "");
}

// A transcript that is forgotten is read from text: what was sampled as text stays text.
TEST(RawAnswers, WhatIsSpeltInThemIsNoSpecialToken) {
  nlohmann::json json = byte_level_json();
  json["added_tokens"] = {added_token_json("｜DSML｜", 257), added_token_json("<u>", 258)};
  const Tokenizer tokenizer = Tokenizer::parse(json.dump(), "test.json").value();
  const auto format = make_deepseek_v4_format();
  const ChatRequest asked =
      parse_chat_request(R"({"messages": [{"role": "user", "content": "q", "tools": [1]}]})",
                         "test")
          .value();
  const std::string answer =
      "<u>\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n"
      "<｜DSML｜parameter name=\"x\" string=\"true\">a<u>b</｜DSML｜parameter>\n"
      "</｜DSML｜invoke>\n</｜DSML｜tool_calls>";
  const std::vector<int32_t> spelt = tokenizer.encode(answer).value();
  std::vector<int32_t> sampled;
  for (const int32_t id : spelt) {
    if (id == 258) {
      sampled.insert(sampled.end(), {'<', 'u', '>'});
    } else {
      sampled.push_back(id);
    }
  }
  ASSERT_EQ(tokenizer.decode(sampled), answer);
  const auto parser = format->answer_parser(asked);
  std::vector<AnswerEvent> events = parser->push(answer);
  ASSERT_EQ(events.size(), 2U);
  AnswerMemory memory({});
  memory.remember(events, {tokenizer.decode_marked(sampled), false});
  ChatRequest again = asked;
  again.messages = {chat_message("user", "q"), answer_message(events)};
  memory.recall(again);
  ASSERT_EQ(again.raw_answers.size(), 1U);
  Transcript transcript(tokenizer);
  ASSERT_TRUE(transcript.continue_to(format->render(again).value()));
  const std::vector<int32_t>& ids = transcript.ids();
  EXPECT_NE(std::search(ids.begin(), ids.end(), sampled.begin(), sampled.end()), ids.end());
}

}  // namespace
}  // namespace varve
