#include "chat/answer_parser.h"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <random>
#include <set>

#include "chat/chat_format.h"
#include "chat/jinja/json.h"

namespace varve {
namespace {

using Kind = AnswerEvent::Kind;
using Calls = AnswerSyntax::Calls;
using Reasoning = AnswerSyntax::Reasoning;

constexpr AnswerSyntax kDsml = {.calls = Calls::dsml};
constexpr AnswerSyntax kThinkingDsml = {.reasoning = Reasoning::open, .calls = Calls::dsml};
constexpr AnswerSyntax kQwen = {
    .reasoning = Reasoning::optional, .calls = Calls::tagged_json, .trims_lines = true};
constexpr AnswerSyntax kLlama = {.calls = Calls::bare_json, .trims_lines = true};

// Of pieces of arguments it remembers what a call's came to.
void add_events(std::string& shown, Kind& last, const std::vector<AnswerEvent>& events) {
  static std::map<std::string, std::string> parts;
  for (const AnswerEvent& event : events) {
    if (event.kind == Kind::call_part) {
      EXPECT_FALSE(event.text.empty());
      EXPECT_FALSE(event.call.name.empty());
      parts[event.call.id] += event.text;
      continue;
    }
    if (const auto part = parts.find(event.call.id); part != parts.end()) {
      EXPECT_EQ(part->second, event.call.arguments);
    }
    if (event.kind == Kind::tool_call) {
      EXPECT_EQ(event.call.id.size(), 29U);
      shown += "[call " + event.call.name + " " + event.call.arguments;
    } else {
      EXPECT_FALSE(event.text.empty());
      if (event.kind != last || shown.empty())
        shown += event.kind == Kind::reasoning ? "[r " : "[c ";
      if (event.kind == last && !shown.empty()) shown.pop_back();
      shown += event.text;
    }
    shown += ']';
    last = event.kind;
  }
}

// The joined events of `text`, cut where `cuts` has places.
std::string parsed(const AnswerSyntax& syntax, std::string_view text,
                   const std::set<size_t>& cuts = {}, std::string* complaint = nullptr) {
  const auto parser = make_answer_parser(syntax);
  std::string shown;
  Kind last = Kind::tool_call;
  size_t at = 0;
  for (const size_t cut : cuts) {
    add_events(shown, last, parser->push(text.substr(at, cut - at)));
    at = cut;
  }
  add_events(shown, last, parser->push(text.substr(at)));
  add_events(shown, last, parser->finish());
  if (complaint != nullptr) *complaint = parser->complaint().value_or("");
  return shown;
}

std::string invoke(std::string_view name, std::string_view parameters) {
  return "<｜DSML｜invoke name=\"" + std::string(name) + "\">\n" + std::string(parameters) +
         "</｜DSML｜invoke>\n";
}
std::string parameter(std::string_view name, std::string_view is_string, std::string_view value) {
  return "<｜DSML｜parameter name=\"" + std::string(name) + "\" string=\"" +
         std::string(is_string) + "\">" + std::string(value) + "</｜DSML｜parameter>\n";
}
std::string block(std::string_view calls) {
  return "\n\n<｜DSML｜tool_calls>\n" + std::string(calls) + "</｜DSML｜tool_calls>";
}

TEST(AnswerParser, PlainTextIsContentAtOnce) {
  const auto parser = make_answer_parser({});
  const auto events = parser->push("<think>a</think><tool_call>\n");
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].kind, Kind::content);
  EXPECT_EQ(events[0].text, "<think>a</think><tool_call>\n");
  EXPECT_TRUE(parser->finish().empty());
}

TEST(AnswerParser, DsmlCalls) {
  EXPECT_EQ(parsed(kDsml, "Let me see." +
                              block(invoke("weather", parameter("town", "true", "Zürich \"1\"") +
                                                          parameter("days", "false", "[3, 1.50]")) +
                                    invoke("now", ""))),
            "[c Let me see.][call weather {\"town\": \"Zürich \\\"1\\\"\", \"days\": [3, 1.50]}]"
            "[call now {}]");
  // The official encoder writes an empty line where there are no parameters.
  EXPECT_EQ(parsed(kDsml, block(invoke("now", "\n"))), "[call now {}]");
  EXPECT_EQ(parsed(kThinkingDsml, "why</think>" + block(invoke("f", ""))), "[r why][call f {}]");
  EXPECT_EQ(parsed(kThinkingDsml, "why</think>a</think>"), "[r why][c a</think>]");
  EXPECT_EQ(parsed(kThinkingDsml, "cut sho"), "[r cut sho]");
  // Nothing escapes values: they may hold all tags but the one that closes them.
  EXPECT_EQ(parsed(kDsml, block(invoke("f", parameter("x", "true", "</｜DSML｜invoke>\n")))),
            "[call f {\"x\": \"</｜DSML｜invoke>\\n\"}]");
}

TEST(AnswerParser, LineBreaksBeforeDsmlCallsBelongToThem) {
  EXPECT_EQ(parsed(kDsml, "a\n" + block(invoke("f", ""))), "[c a\n][call f {}]");
  EXPECT_EQ(parsed(kDsml, "a\n\n\n"), "[c a\n\n\n]");
  EXPECT_EQ(parsed(kDsml, "<｜DSML｜tool_calls>\n" + invoke("f", "") + "</｜DSML｜tool_calls>\n"),
            "[call f {}]");
}

TEST(AnswerParser, WhatIsNoDsmlCallIsContent) {
  for (const std::string& text :
       {block(""), block("x"), block(invoke("", "")), block(invoke("f\n", "")),
        block(invoke("f", "x")), block(invoke("f", parameter("x", "maybe", "1"))),
        block(invoke("f", parameter("x", "false", "{"))),
        block(invoke("f", parameter("x", "false", "1}, {"))),
        block(invoke("f", parameter("x", "true", "1") + parameter("x", "true", "2"))),
        block(invoke(std::string(1025, 'f'), "")),
        block(invoke("f", parameter("x", "false", std::string(120, '['))))}) {
    EXPECT_EQ(parsed(kDsml, "a" + text + "b"), "[c a" + text + "b]");
  }
  // So is a call that was cut short; the missing end of a block behind its calls is nothing.
  const std::string whole = "a" + block(invoke("f", parameter("x", "true", "1")));
  const size_t end_of_call = whole.find("</｜DSML｜tool_calls>");
  for (size_t n = 2; n < whole.size(); ++n) {
    const std::string text = whole.substr(0, n);
    EXPECT_EQ(parsed(kDsml, text),
              n + 1 >= end_of_call ? "[c a][call f {\"x\": \"1\"}]" : "[c " + text + "]")
        << n;
  }
  // Behind a malformed block another one may stand.
  EXPECT_EQ(parsed(kDsml, block("x") + block(invoke("f", ""))),
            "[c " + block("x") + "][call f {}]");
}

TEST(AnswerParser, TaggedJsonCalls) {
  const std::string call =
      "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": [1,2.5]}}\n</tool_call>";
  EXPECT_EQ(parsed(kQwen, "<think>\nwhy\n\n</think>\n\nSo:\n" + call + "\n" + call + "\n"),
            "[r why][c So:][call f {\"x\": [1, 2.5]}][call f {\"x\": [1, 2.5]}]");
  EXPECT_EQ(parsed(kQwen, "<tool_call>{\"name\": \"f\", \"arguments\": \"{}\"}</tool_call>\nend\n"),
            "[call f {}][c end\n]");
  EXPECT_EQ(parsed(kQwen, " <thin"), "[c  <thin]");
  EXPECT_EQ(parsed(kQwen, "a<think>b</think>"), "[c a<think>b</think>]");
  for (const std::string text :
       {"<tool_call>", "<tool_call>{}</tool_call>", "<tool_call>5</tool_call>",
        "<tool_call>{\"name\": 5, \"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"\", \"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"f\"}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": \"{\"}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_cal"}) {
    EXPECT_EQ(parsed(kQwen, "a\n" + text + "\nb"), "[c a\n" + text + "\nb]");
  }
}

TEST(AnswerParser, BareJsonCalls) {
  const std::string call = R"({"name": "f", "parameters": {"x": "}\"{"}})";
  const std::string shown = R"([call f {"x": "}\"{"}])";
  EXPECT_EQ(parsed(kLlama, call), shown);
  EXPECT_EQ(parsed(kLlama, "\n <|python_tag|> " + call + "; " + call + "\n"), shown + shown);
  EXPECT_EQ(parsed(kLlama, call + "\nDone."), shown + "[c Done.]");
  for (const std::string text : {"", "a {}", "  ", "<|pyth", "<|python_tag|>", "<|python_tag|>x",
                                 "{", "{}", "{\"a\": 1} {\"b\": 2}", "{\"name\": \"f\"}"}) {
    EXPECT_EQ(parsed(kLlama, text), text.empty() ? "" : "[c " + text + "]");
  }
  EXPECT_EQ(parsed(kLlama, call + "; {\"na"), shown + "[c ; {\"na]");
}

// JSON that is an answer, and no call of a tool that the request has.
TEST(AnswerParser, BareJsonCallsNameATool) {
  const auto shown = [](std::string_view text) {
    const auto parser = make_answer_parser(kLlama, {"f", "g"});
    std::string out;
    Kind last = Kind::tool_call;
    add_events(out, last, parser->push(text));
    add_events(out, last, parser->finish());
    EXPECT_FALSE(parser->complaint());
    return out;
  };
  const std::string call = R"({"name": "g", "parameters": {"x": 1}})";
  const std::string answer = R"({"name": "Ada", "parameters": {"x": 1}})";
  EXPECT_EQ(shown(call), R"([call g {"x": 1}])");
  EXPECT_EQ(shown(answer), "[c " + answer + "]");
  EXPECT_EQ(shown(call + "; " + answer), R"([call g {"x": 1}])"
                                         "[c ; " +
                                             answer + "]");
}

TEST(AnswerParser, WhatIsNotAsItShouldBeIsNamed) {
  constexpr std::array<std::string_view, 2> kSpecial = {"<e>", "<user>"};
  const auto complaint = [&](AnswerSyntax syntax, std::string_view text) {
    syntax.special_tokens = kSpecial;
    std::string first;
    for (const size_t n_bytes : {size_t{1}, size_t{4}, text.size() + 1}) {
      const auto parser = make_answer_parser(syntax);
      for (size_t at = 0; at < text.size(); at += n_bytes) parser->push(text.substr(at, n_bytes));
      parser->finish();
      const std::string now = parser->complaint().value_or("");
      if (n_bytes > 1) {
        EXPECT_EQ(now, first) << text;
      }
      first = now;
    }
    return first;
  };
  const std::string call = invoke("f", parameter("x", "true", "<user>"));
  EXPECT_EQ(complaint(kThinkingDsml, "why</think>a <use" + block(call)), "");
  EXPECT_EQ(complaint({}, "<e</think>"), "");
  EXPECT_EQ(complaint({}, "a<user>b<e>"), "it says the special token <user>");
  EXPECT_EQ(complaint(kThinkingDsml, "<e></think>a"), "it says the special token <e>");
  EXPECT_EQ(complaint(kThinkingDsml, "why"), "the reasoning has no end");
  EXPECT_EQ(complaint(kDsml, block("x")), "a block of tool calls is malformed");
  EXPECT_EQ(complaint(kDsml, block("")), "a block of tool calls is malformed");
  EXPECT_EQ(complaint(kDsml, block(call).substr(0, 60)), "a block of tool calls has no end");
  EXPECT_EQ(complaint(kDsml, block(call).substr(0, block(call).size() - 5)),
            "a block of tool calls has no end");
  EXPECT_EQ(complaint(kQwen, "<tool_call>{}</tool_call>"), "a block of tool calls is malformed");
  EXPECT_EQ(complaint(kQwen, "<tool_call>{"), "a block of tool calls has no end");
  EXPECT_EQ(complaint(kLlama, "{\"x\": 5"), "");
}

TEST(AnswerParser, ArgumentsOfDsmlCallsComeInParts) {
  const std::string call =
      block(invoke("f", parameter("x", "true", "é\n\"" + std::string(40, 'a')) +
                            parameter("y", "false", "[1]")) +
            invoke("g", ""));
  const auto parser = make_answer_parser(kDsml);
  std::vector<std::string> parts;
  std::string id;
  size_t n_first = 0;
  const size_t end_of_x = call.find("</｜DSML｜parameter>");
  for (size_t i = 0; i < call.size(); ++i) {
    for (const AnswerEvent& event : parser->push(call.substr(i, 1))) {
      if (event.kind == Kind::call_part) {
        EXPECT_EQ(event.call.name, "f");
        EXPECT_TRUE(event.call.arguments.empty());
        EXPECT_TRUE(id.empty() || id == event.call.id);
        id = event.call.id;
        parts.push_back(event.text);
        if (i < end_of_x) ++n_first;
      } else if (event.call.name == "f") {
        std::string joined;
        for (const std::string& part : parts) joined += part;
        EXPECT_EQ(event.call.id, id);
        EXPECT_EQ(event.call.arguments, joined);
        EXPECT_EQ(joined, "{\"x\": \"é\\n\\\"" + std::string(40, 'a') + "\", \"y\": [1]}");
      } else {
        EXPECT_EQ(event.call.arguments, "{}");
      }
    }
  }
  EXPECT_GT(n_first, 20U);  // while the value is being written
  // All at once, and of a call that is none.
  const auto kinds = [](std::string_view text) {
    std::vector<Kind> all;
    const auto other = make_answer_parser(kDsml);
    for (const AnswerEvent& event : other->push(text)) all.push_back(event.kind);
    for (const AnswerEvent& event : other->finish()) all.push_back(event.kind);
    return all;
  };
  EXPECT_EQ(kinds(call), (std::vector{Kind::tool_call, Kind::tool_call}));
  const std::string cut = call.substr(0, end_of_x);
  EXPECT_EQ(kinds(cut), (std::vector{Kind::call_part, Kind::content}));
  EXPECT_EQ(parsed(kDsml, cut), "[c " + cut + "]");
}

TEST(AnswerParser, WhatIsCertainIsNotHeldBack) {
  const auto parser = make_answer_parser(kThinkingDsml);
  std::string said;
  const auto push = [&](std::string_view text) {
    said.clear();
    for (const AnswerEvent& event : parser->push(text)) said += event.text + event.call.name;
    return said;
  };
  EXPECT_EQ(push("why <"), "why ");
  EXPECT_EQ(push("b></"), "<b>");
  EXPECT_EQ(push("think>a\n"), "a");
  EXPECT_EQ(push("\n"), "");
  EXPECT_EQ(push("b\n\n<｜DSML"), "\n\nb");
  EXPECT_EQ(push("｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n</｜DSML｜invoke"), "");
  EXPECT_EQ(push(">"), "f");
}

// Any cuts of a text give the same events.
TEST(AnswerParser, CutsDoNotMatter) {
  const std::vector<std::string> parts = {"a",
                                          "\n",
                                          "\n\n",
                                          " ",
                                          "{",
                                          "}",
                                          "\"",
                                          "\\",
                                          ";",
                                          "<",
                                          "<think>",
                                          "</think>",
                                          "</think",
                                          "<tool_call>",
                                          "</tool_call>",
                                          "{\"name\": \"f\", \"arguments\": {\"x\": 1}}",
                                          "{\"name\": \"f\", \"parameters\": {}}",
                                          "<｜DSML｜tool_calls>",
                                          "</｜DSML｜tool_calls>",
                                          "<｜DSML｜invoke name=\"f\">",
                                          "</｜DSML｜invoke>",
                                          "<｜DSML｜parameter name=\"",
                                          "x",
                                          "\" string=\"true\">",
                                          "\" string=\"false\">",
                                          "</｜DSML｜parameter>",
                                          "<|python_tag|>",
                                          block(invoke("f", parameter("x", "true", "y")))};
  std::mt19937 random(7);
  const auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  for (int round = 0; round < 4000; ++round) {
    std::string text;
    for (size_t n = below(12); n > 0; --n) text += parts[below(parts.size())];
    constexpr std::array<std::string_view, 4> kSpecial = {"<think>", "</think>", "｜DSML｜", "a{"};
    const AnswerSyntax syntax = {.reasoning = static_cast<Reasoning>(below(3)),
                                 .calls = static_cast<Calls>(below(4)),
                                 .trims_lines = below(2) == 1,
                                 .special_tokens = kSpecial};
    std::array<std::string, 3> complaints;
    const std::string whole = parsed(syntax, text, {}, &complaints[0]);
    std::set<size_t> every;
    std::set<size_t> some;
    for (size_t i = 1; i < text.size(); ++i) every.insert(i);
    for (size_t n = below(8); n > 0 && !text.empty(); --n) some.insert(below(text.size()));
    ASSERT_EQ(parsed(syntax, text, every, &complaints[1]), whole) << text;
    ASSERT_EQ(parsed(syntax, text, some, &complaints[2]), whole) << text;
    ASSERT_EQ(complaints[1], complaints[0]) << text;
    ASSERT_EQ(complaints[2], complaints[0]) << text;
  }
}

TEST(AnswerParser, LongAnswersTakeLinearTime) {
  // Quadratic, this would be 10^12 steps.
  const std::string value(1'000'000, '<');
  std::string text = block(invoke("f", parameter("x", "true", value)));
  const auto parser = make_answer_parser(kDsml);
  size_t n_calls = 0;
  for (const char c : text) {
    for (const AnswerEvent& event : parser->push(std::string_view(&c, 1))) {
      if (event.kind == Kind::tool_call) ++n_calls;
    }
  }
  EXPECT_EQ(n_calls, 1U);
}

TEST(AnswerMessage, IsWhatTemplatesRead) {
  const auto message = answer_message(
      {{.kind = Kind::reasoning, .text = "r"},
       {.kind = Kind::content, .text = "a"},
       {.kind = Kind::content, .text = "b"},
       {.kind = Kind::tool_call, .text = {}, .call = {"call_1", "f", "{\"x\": 1}"}}});
  jinja::Budget budget((jinja::Limits()));
  EXPECT_EQ(jinja::to_json(message, {}, budget).value(),
            R"({"role": "assistant", "reasoning_content": "r", "content": "ab", "tool_calls": )"
            R"([{"id": "call_1", "type": "function", "function": )"
            R"({"name": "f", "arguments": {"x": 1}}}]})");
  // Arguments that would nest too deep stay a text.
  const std::string deep = "{\"x\": " + std::string(96, '[') + std::string(96, ']') + "}";
  const auto calls =
      answer_message({{.kind = Kind::tool_call, .text = {}, .call = {"1", "f", deep}}});
  const auto& call = calls.dict()->find("tool_calls")->list()->items.at(0);
  EXPECT_EQ(*call.dict()->find("function")->dict()->find("arguments")->text(), deep);
}

TEST(TemplateAnswers, AreReadAsTheTemplateWritesThem) {
  const auto message = [](std::string_view source, std::string_view text, bool has_tools) {
    const auto format = make_template_format(source, "t", {}).value();
    ChatRequest request;
    if (has_tools) request.tools = jinja::make_list({jinja::Value::text("t")}).value();
    jinja::Budget budget((jinja::Limits()));
    return jinja::to_json(format->answer(request, text), {}, budget).value();
  };
  const std::string thought = R"({"role": "assistant", "reasoning_content": "r", "content": "a"})";
  EXPECT_EQ(message("{# </think> #}", "<think>\nr\n</think>\n\na", false), thought);
  EXPECT_EQ(message("{# </think> #}{{ '<think>\n' }}", "r</think>a", false), thought);
  EXPECT_EQ(message("", "<think>\nr", true), R"({"role": "assistant", "content": "<think>\nr"})");
  const std::string_view tagged = "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>";
  EXPECT_NE(message("<tool_call>", tagged, true).find("\"tool_calls\""), std::string::npos);
  EXPECT_EQ(message("<tool_call>", tagged, false).find("\"tool_calls\""), std::string::npos);
  EXPECT_NE(message("ipython parameters", "{\"name\": \"f\", \"parameters\": {}}", true)
                .find("\"tool_calls\""),
            std::string::npos);
}

}  // namespace
}  // namespace varve
