#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "chat/chat_format.h"
#include "chat/jinja/json.h"
#include "formats/checkpoint.h"
#include "formats/gguf_writer.h"

namespace varve {
namespace {

using jinja::Value;
namespace fs = std::filesystem;

constexpr std::string_view kBos = "<｜begin▁of▁sentence｜>";
constexpr std::string_view kEos = "<｜end▁of▁sentence｜>";
constexpr std::string_view kUser = "<｜User｜>";
constexpr std::string_view kAssistant = "<｜Assistant｜>";

Value thought(std::string_view reasoning, std::string_view content) {
  return jinja::make_dict({{Value::text("role"), Value::text("assistant")},
                           {Value::text("reasoning_content"), Value::text(std::string(reasoning))},
                           {Value::text("content"), Value::text(std::string(content))}})
      .value();
}

ChatRequest two_turns() {
  ChatRequest request;
  request.messages = {chat_message("system", "S"), chat_message("user", "U1"), thought("R1", "A1"),
                      chat_message("user", "U2")};
  return request;
}

std::string joined(std::initializer_list<std::string_view> parts) {
  std::string text;
  for (const std::string_view part : parts) text += part;
  return text;
}

TEST(DeepseekV4Format, ChatMode) {
  EXPECT_EQ(make_deepseek_v4_format()->render(two_turns()).value(),
            joined({kBos, "S", kUser, "U1", kAssistant, "</think>A1", kEos, kUser, "U2", kAssistant,
                    "</think>"}));
}

TEST(DeepseekV4Format, ThinkingDropsOldReasoning) {
  ChatRequest request = two_turns();
  request.variables = {{"thinking", Value(true)}};
  EXPECT_EQ(make_deepseek_v4_format()->render(request).value(),
            joined({kBos, "S", kUser, "U1", kAssistant, "</think>A1", kEos, kUser, "U2", kAssistant,
                    "<think>"}));
  request.variables.emplace_back("drop_thinking", Value(false));
  EXPECT_EQ(make_deepseek_v4_format()->render(request).value(),
            joined({kBos, "S", kUser, "U1", kAssistant, "<think>R1</think>A1", kEos, kUser, "U2",
                    kAssistant, "<think>"}));
}

TEST(DeepseekV4Format, ReasoningSinceTheLastQuestionStays) {
  ChatRequest request = two_turns();
  request.messages.push_back(thought("R2", "A2"));
  request.variables = {{"enable_thinking", Value(true)}};
  EXPECT_EQ(make_deepseek_v4_format()->render(request).value(),
            joined({kBos, "S", kUser, "U1", kAssistant, "</think>A1", kEos, kUser, "U2", kAssistant,
                    "<think>R2</think>A2", kEos}));
}

TEST(DeepseekV4Format, RolesBesidesUsers) {
  ChatRequest request;
  request.messages = {chat_message("developer", "D1"), chat_message("assistant", "A1"),
                      chat_message("latest_reminder", "L"), chat_message("developer", "D2")};
  EXPECT_EQ(make_deepseek_v4_format()->render(request).value(),
            joined({kBos, kUser, "D1", kAssistant, "</think>A1", kEos, "<｜latest_reminder｜>L",
                    kUser, "D2", kAssistant, "</think>"}));
  request.variables = {{"thinking", Value(true)}};
  EXPECT_EQ(
      make_deepseek_v4_format()->render(request).value(),
      joined({kBos, "A1", kEos, "<｜latest_reminder｜>L", kUser, "D2", kAssistant, "<think>"}));
  request.messages = {chat_message("wizard", "W")};
  EXPECT_EQ(make_deepseek_v4_format()->render(request).error().message,
            "message role `wizard` is not known in DeepSeek-V4's encoding here");
}

// A turn is followed by what is left: what stands behind it does not depend on what was dropped.
TEST(DeepseekV4Format, ADeveloperThatIsDroppedWasNeverThere) {
  ChatRequest request;
  request.messages = {chat_message("user", "U1"), chat_message("developer", "D1"),
                      thought("R1", "A1"), chat_message("developer", "D2")};
  const auto format = make_deepseek_v4_format();
  const std::string kept = joined({kUser, "D2", kAssistant});
  request.variables = {{"thinking", Value(true)}};
  EXPECT_EQ(format->render(request).value(),
            joined({kBos, kUser, "U1", kAssistant, "</think>A1", kEos, kept, "<think>"}));
  request.variables.emplace_back("drop_thinking", Value(false));
  EXPECT_EQ(format->render(request).value(),
            joined({kBos, kUser, "U1", kUser, "D1", kAssistant, "<think>R1</think>A1", kEos, kept,
                    "<think>"}));
  request.variables = {};
  EXPECT_EQ(format->render(request).value(), joined({kBos, kUser, "U1", kUser, "D1", kAssistant,
                                                     "</think>A1", kEos, kept, "</think>"}));
}

TEST(DeepseekV4Format, AnAnswerIsSplitWhereItsReasoningEnds) {
  const auto format = make_deepseek_v4_format();
  ChatRequest request;
  EXPECT_EQ(*format->answer(request, "a</think>b").dict()->find("content")->text(), "a</think>b");
  request.variables = {{"thinking", Value(true)}};
  const Value split = format->answer(request, "r</think>b");
  EXPECT_EQ(*split.dict()->find("reasoning_content")->text(), "r");
  EXPECT_EQ(*split.dict()->find("content")->text(), "b");
  const Value cut_short = format->answer(request, "r");
  EXPECT_EQ(*cut_short.dict()->find("reasoning_content")->text(), "r");
  EXPECT_EQ(*cut_short.dict()->find("content")->text(), "");
}

// ---- tools. The texts are this test's own; those of the real ones ship with the checkpoints.

constexpr std::string_view kModule = R"py("""An encoder.

TOOLS_TEMPLATE = "not this one"
"""
import json

dsml_token: str = "｜DSML｜"
answer_template: str = "{content}" + dsml_token  # computed: of no use here
response_format_template: str = (
    "Answer as this schema says:\n{schema}"
)
REASONING_EFFORT_MAX = "Think " "long.\n"
TOOLS_TEMPLATE = """Tools, called by <{dsml_token}x>, {{so}}:
{tool_schemas}
after {thinking_start_token} and {thinking_end_token}
"""
)py";

class DeepseekV4Tools : public testing::Test {
 protected:
  DeepseekV4Tools()
      : dir_(fs::temp_directory_path() / ("varve_deepseek_v4." + std::to_string(getpid()))) {
    fs::create_directories(dir_ / "encoding");
    write(kModule);
  }
  ~DeepseekV4Tools() override { fs::remove_all(dir_); }
  void write(std::string_view module) const { std::ofstream(module_) << module; }
  std::unique_ptr<ChatFormat> format() const {
    return load_chat_format(dir_.string(), "deepseek_v4", "").value();
  }
  static ChatRequest request(std::string_view json) {
    ChatRequest request = parse_chat_request(json, "test").value();
    request.add_generation_prompt = true;
    return request;
  }
  std::string rendered(std::string_view json) const {
    const auto text = format()->render(request(json));
    return text ? *text : text.error().message;
  }

  const fs::path dir_;
  const fs::path module_ = dir_ / "encoding" / "encoding_dsv4.py";
};

constexpr std::string_view kTools =
    R"("tools": [{"type": "function", "function": {"name": "f", "description": "é",
        "parameters": {"type":"object"}}}, {"type": "function", "function": {"name": "g"}}])";
const std::string kToolsText =
    "\n\nTools, called by <｜DSML｜x>, {so}:\n"
    "{\"name\": \"f\", \"description\": \"é\", \"parameters\": {\"type\": \"object\"}}\n"
    "{\"name\": \"g\"}\nafter <think> and </think>\n";

TEST_F(DeepseekV4Tools, StandBehindTheSystemsText) {
  const std::string tools(kTools);
  EXPECT_EQ(rendered("{" + tools + R"(, "messages": [{"role": "system", "content": "S"},
                                                     {"role": "user", "content": "U"}]})"),
            joined({kBos, "S", kToolsText, kUser, "U", kAssistant, "</think>"}));
  // Where there is none, an empty one is made; a message may have tools of its own.
  EXPECT_EQ(rendered("{" + tools + R"(, "messages": [{"role": "user", "content": "U"}]})"),
            joined({kBos, kToolsText, kUser, "U", kAssistant, "</think>"}));
  EXPECT_EQ(rendered(R"([{"role": "developer", "content": "D", )" + tools + "}]"),
            joined({kBos, kUser, "D", kToolsText, kAssistant, "</think>"}));
  EXPECT_EQ(rendered("{" + tools + R"(, "messages": [{"role": "system", )" + tools + "}]}"),
            "expected tools in the request or in its first message, found both");
}

TEST_F(DeepseekV4Tools, ResponseFormatsStandBehindThem) {
  EXPECT_EQ(rendered(R"([{"role": "system", "content": "S", "response_format": {"a": [1,2]}}])"),
            joined({kBos, "S\n\nAnswer as this schema says:\n{\"a\": [1, 2]}"}));
}

constexpr std::string_view kCalls =
    R"({"role": "assistant", "content": "C", "reasoning_content": "R", "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments":
          "{\"s\": \"a\\n\\\"b\", \"n\": 1.50, \"l\": [true, null, \"é\"]}"}},
        {"id": "2", "type": "function", "function": {"name": "g", "arguments": {}}},
        {"id": "3", "type": "function", "function": {"name": "h", "arguments": "no JSON"}}]})";
const std::string kCallsText =
    "\n\n<｜DSML｜tool_calls>\n"
    "<｜DSML｜invoke name=\"f\">\n"
    "<｜DSML｜parameter name=\"s\" string=\"true\">a\n\"b</｜DSML｜parameter>\n"
    "<｜DSML｜parameter name=\"n\" string=\"false\">1.5</｜DSML｜parameter>\n"
    "<｜DSML｜parameter name=\"l\" string=\"false\">[true, null, \"é\"]</｜DSML｜parameter>\n"
    "</｜DSML｜invoke>\n"
    "<｜DSML｜invoke name=\"g\">\n\n</｜DSML｜invoke>\n"
    "<｜DSML｜invoke name=\"h\">\n"
    "<｜DSML｜parameter name=\"arguments\" string=\"true\">no JSON</｜DSML｜parameter>\n"
    "</｜DSML｜invoke>\n"
    "</｜DSML｜tool_calls>";

TEST_F(DeepseekV4Tools, CallsAndResults) {
  // Results come in the order of the calls; what the user says stays where it is.
  const std::string messages =
      R"("messages": [{"role": "user", "content": "U"}, )" + std::string(kCalls) + R"(,
      {"role": "tool", "tool_call_id": "3", "content": "third"},
      {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "fir"},
        {"type": "text", "text": "st"}, {"type": "image"}]},
      {"role": "user", "content": "V"},
      {"role": "tool", "tool_call_id": "2", "content": null}])";
  const std::string results =
      "<tool_result>fir\n\nst\n\n[Unsupported image]</tool_result>\n\n"
      "<tool_result></tool_result>\n\nV\n\n<tool_result>third</tool_result>";
  EXPECT_EQ(rendered("{" + messages + "}"),
            joined({kBos, kUser, "U", kAssistant, "</think>C", kCallsText, kEos, kUser, results,
                    kAssistant, "</think>"}));
  // With tools no reasoning is dropped; without them that before the results is.
  const std::string thinking = R"({"thinking": true, )" + messages;
  EXPECT_EQ(rendered(thinking + ", " + std::string(kTools) + "}"),
            joined({kBos, kToolsText, kUser, "U", kAssistant, "<think>R</think>C", kCallsText, kEos,
                    kUser, results, kAssistant, "<think>"}));
  EXPECT_EQ(rendered(thinking + "}"), joined({kBos, kUser, "U", kAssistant, "</think>C", kCallsText,
                                              kEos, kUser, results, kAssistant, "<think>"}));
}

TEST_F(DeepseekV4Tools, CallsComeBackFromTheAnswer) {
  ChatRequest asked = request(R"({"thinking": true, )" + std::string(kTools) +
                              R"(, "messages": [{"role": "user", "content": "U"}]})");
  const std::string prompt = format()->render(asked).value();
  const std::string answer = "R</think>C" + kCallsText;
  const Value message = format()->answer(asked, answer);
  EXPECT_EQ(message.dict()->find("tool_calls")->list()->items.size(), 3U);
  asked.messages.push_back(message);
  EXPECT_EQ(format()->render(asked).value(), joined({prompt, answer, kEos}));
  // What was written stands for what the message says, in the mode that it was written in.
  asked.raw_answers = {{1, {"raw</think>text", true}}};
  EXPECT_EQ(format()->render(asked).value(), joined({prompt, "raw</think>text", kEos}));
  asked.raw_answers = {{1, {"text that names </think>", false}}};
  EXPECT_EQ(format()->render(asked).value(), joined({prompt, answer, kEos}));
  asked.variables = {{"thinking", Value(false)}};
  const std::string chat = joined({prompt.substr(0, prompt.rfind("<think>")), "</think>"});
  EXPECT_EQ(format()->render(asked).value(), joined({chat, "text that names </think>", kEos}));
  // Reasoning that was cut short never ended.
  asked.raw_answers = {{1, {"raw text", true}}};
  EXPECT_EQ(format()->render(asked).value(), joined({chat, "C", kCallsText, kEos}));
  asked.variables = {{"thinking", Value(true)}};
  EXPECT_EQ(format()->render(asked).value(), joined({prompt, "raw text", kEos}));
}

TEST_F(DeepseekV4Tools, TheLargestEffortStandsAtTheBeginning) {
  const std::string messages = R"("messages": [{"role": "user", "content": "U"}]})";
  EXPECT_EQ(rendered(R"({"reasoning_effort": "max", "thinking": true, )" + messages),
            joined({kBos, "Think long.\n", kUser, "U", kAssistant, "<think>"}));
  EXPECT_EQ(rendered(R"({"reasoning_effort": "high", "thinking": true, )" + messages),
            joined({kBos, kUser, "U", kAssistant, "<think>"}));
  for (const std::string_view effort : {"\"max\"", "\"none\"", "null"}) {
    EXPECT_EQ(rendered(fmt::format(R"({{"reasoning_effort": {}, {})", effort, messages)),
              joined({kBos, kUser, "U", kAssistant, "</think>"}));
  }
  const std::string expected =
      "reasoning_effort: expected one of none, minimal, low, medium, high, xhigh, max, found ";
  EXPECT_EQ(rendered(R"({"reasoning_effort": "maximal", )" + messages), expected + "maximal");
  EXPECT_EQ(rendered(R"({"reasoning_effort": 5, )" + messages), expected + "the integer 5");
}

// What the four examples that ship with the checkpoints show, with words of ours.
TEST_F(DeepseekV4Tools, TheFourExamples) {
  const std::string call =
      R"({"role": "assistant", "content": "", "reasoning_content": "R1", "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "g", "arguments": "{}"}}]})";
  const std::string call_text =
      "\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"g\">\n\n"
      "</｜DSML｜invoke>\n</｜DSML｜tool_calls>";
  const std::string result = R"({"role": "tool", "tool_call_id": "1", "content": "T"})";
  const std::string system = R"({"role": "system", "content": "S")";
  const std::string last = R"({"role": "user", "content": "U2"})";
  // Thinking with tools: all of the reasoning stays.
  EXPECT_EQ(rendered(R"({"thinking": true, "messages": [)" + system + ", " + std::string(kTools) +
                     R"(}, {"role": "user", "content": "U1"}, )" + call + ", " + result +
                     R"(, {"role": "assistant", "content": "A1", "reasoning_content": "R2"}, )" +
                     last + "]}"),
            joined({kBos, "S", kToolsText, kUser, "U1", kAssistant, "<think>R1</think>", call_text,
                    kEos, kUser, "<tool_result>T</tool_result>", kAssistant, "<think>R2</think>A1",
                    kEos, kUser, "U2", kAssistant, "<think>"}));
  // Thinking without tools: that before the last question goes.
  EXPECT_EQ(rendered(R"({"thinking": true, "messages": [)" + system + R"(}, {"role": "user",
                       "content": "U1"}, {"role": "assistant", "content": "A1",
                       "reasoning_content": "R1"}, )" +
                     last + "]}"),
            joined({kBos, "S", kUser, "U1", kAssistant, "</think>A1", kEos, kUser, "U2", kAssistant,
                    "<think>"}));
  // A reminder before the question, a developer with tools.
  EXPECT_EQ(rendered(R"({"thinking": true, "messages": [)" + system + R"(}, {"role":
                       "latest_reminder", "content": "L"}, {"role": "developer", "content": "D", )" +
                     std::string(kTools) + "}, " + call + ", " + result + "]}"),
            joined({kBos, "S<｜latest_reminder｜>L", kUser, "D", kToolsText, kAssistant,
                    "<think>R1</think>", call_text, kEos, kUser, "<tool_result>T</tool_result>",
                    kAssistant, "<think>"}));
  // A task in chat mode.
  EXPECT_EQ(rendered(R"([)" + system + R"(}, {"role": "latest_reminder", "content": "L"},
                       {"role": "user", "content": "U1"}, {"role": "assistant", "content": "A1"},
                       {"role": "user", "content": "U2", "task": "action"}])"),
            joined({kBos, "S<｜latest_reminder｜>L", kUser, "U1", kAssistant, "</think>A1", kEos,
                    kUser, "U2", kAssistant, "</think><｜action｜>"}));
}

TEST_F(DeepseekV4Tools, TasksAndTurnsThatAreOpen) {
  EXPECT_EQ(rendered(R"({"thinking": true, "messages": [
                       {"role": "user", "content": "U", "task": "action"}]})"),
            joined({kBos, kUser, "U", kAssistant, "<think><｜action｜>"}));
  for (const std::string_view task : {"query", "authority", "domain", "title", "read_url"}) {
    EXPECT_EQ(rendered(fmt::format(R"({{"thinking": true, "messages": [
                         {{"role": "user", "content": "U", "task": "{}"}}]}})",
                                   task)),
              joined({kBos, kUser, "U<｜", task, "｜>"}));
  }
  // An answered one; a task behind an answer; texts beside the one with the task.
  EXPECT_EQ(rendered(R"([{"role": "user", "content": "U1"},
                         {"role": "user", "content": "U2", "task": "query"},
                         {"role": "assistant", "content": "Q"},
                         {"role": "user", "content": "U3"},
                         {"role": "assistant", "content": "A", "task": "title"}])"),
            joined({kBos, kUser, "U1\n\nU2<｜query｜>Q", kEos, kUser, "U3", kAssistant, "</think>A",
                    kEos, "<｜title｜>"}));
  // What the model says there is no reasoning.
  ChatRequest asked = request(R"({"thinking": true, "messages": [
                                {"role": "user", "content": "U", "task": "action"}]})");
  EXPECT_FALSE(format()->answer_parser(asked)->begins_in_reasoning());

  asked = request(R"({"thinking": true, "messages": [{"role": "user", "content": "U"},
      {"role": "assistant", "content": "A", "reasoning_content": "R", "wo_eos": true}]})");
  EXPECT_EQ(format()->render(asked).value(),
            joined({kBos, kUser, "U", kAssistant, "<think>R</think>A"}));
  EXPECT_FALSE(format()->answer_parser(asked)->begins_in_reasoning());
}

TEST_F(DeepseekV4Tools, ContentMayBeTexts) {
  EXPECT_EQ(rendered(R"([{"role": "system", "content": [{"type": "text", "text": "S"}]},
                         {"role": "user", "content": [{"type": "text", "text": "U1"},
                                                      {"type": "text", "text": "U2"}]}])"),
            joined({kBos, "S", kUser, "U1\n\nU2", kAssistant, "</think>"}));
}

TEST_F(DeepseekV4Tools, TextsThatAreNotThereAreAskedForInOneSentence) {
  const std::string with_tools =
      "{" + std::string(kTools) + R"(, "messages": [{"role": "user", "content": "U"}]})";
  const std::string without = R"([{"role": "user", "content": "U"}])";
  const std::string begin =
      "the request has tools, and the text that tells DeepSeek-V4 of it was not found: ";
  write("TOOLS = 5\n");
  EXPECT_EQ(rendered(with_tools),
            begin + module_.string() + ": expected a string named TOOLS_TEMPLATE, it is missing");
  EXPECT_TRUE(rendered(without).starts_with(kBos));
  write("TOOLS_TEMPLATE = f()\n");
  EXPECT_EQ(rendered(with_tools),
            begin + module_.string() + ": line 1: expected strings and nothing else");
  write("TOOLS_TEMPLATE = '{other}'\n");
  EXPECT_EQ(rendered(with_tools), "expected names that are known in braces, found {other}");
  fs::remove(module_);
  EXPECT_TRUE(rendered(with_tools).starts_with(begin + "cannot open " + module_.string()))
      << rendered(with_tools);
  EXPECT_TRUE(rendered(without).starts_with(kBos));
  EXPECT_TRUE(
      rendered(R"({"reasoning_effort": "max", "thinking": true, "messages": )" + without + "}")
          .starts_with("the request has the reasoning effort `max`, and "));
}

TEST_F(DeepseekV4Tools, TextsOfAGguf) {
  const ChatRequest asked =
      request("{" + std::string(kTools) + R"(, "messages": [{"role": "user", "content": "U"}]})");
  const auto render = [&](const GgufEntries& entries) {
    const std::string path = (dir_ / "m.gguf").string();
    GgufWriter writer = GgufWriter::create(path, entries, {}).value();
    EXPECT_TRUE(writer.finish());
    const Checkpoint checkpoint = Checkpoint::open(path).value();
    const auto text = load_gguf_chat_format(*checkpoint.gguf(), "").value()->render(asked);
    return text ? *text : text.error().message;
  };
  GgufEntries entries;
  entries.add("general.architecture", "deepseek4");
  EXPECT_EQ(render(entries),
            "the request has tools, and the text that tells DeepSeek-V4 of it was not found: " +
                (dir_ / "m.gguf").string() +
                ": expected the key `varve.chat.tools_template`, it is missing");
  entries.add("varve.chat.tools_template", "T{tool_schemas}");
  EXPECT_TRUE(render(entries).starts_with(joined({kBos, "\n\nT{\"name\": \"f\""})));
}

TEST_F(DeepseekV4Tools, WhatIsWrongInMessagesIsNamed) {
  const auto with_call = [&](std::string_view call) {
    return rendered(R"([{"role": "assistant", "tool_calls": )" + std::string(call) + "}]");
  };
  EXPECT_EQ(with_call("5"), "message field `tool_calls`: expected a list, found the integer 5");
  EXPECT_EQ(with_call("[5]"), "a tool call: expected an object, found the integer 5");
  EXPECT_EQ(with_call("[{}]"), "a tool call: field `function` is missing");
  EXPECT_EQ(with_call(R"([{"function": {"name": "f", "arguments": 5}}])"),
            "arguments of a tool call: expected an object, found the integer 5");
  EXPECT_EQ(rendered(R"([{"role": "system", "tools": [5]}])"),
            "tools: expected objects with a `function`, found the integer 5");
  EXPECT_EQ(rendered(R"([{"role": "system", "tools": 5}])"),
            "tools: expected a list, found the integer 5");
  EXPECT_EQ(rendered(R"([{"role": "user", "content": [5]}])"),
            "a part of message field `content`: expected an object, found the integer 5");
  EXPECT_EQ(rendered(R"([{"role": "user", "content": [{"type": "image_url"}]}])"),
            "message field `content`: expected parts of type `text`, found `image_url`");
  EXPECT_EQ(rendered(R"([{"role": "user", "content": "U", "task": "juggle"}])"),
            "message field `task`: expected one of action, query, authority, domain, title, "
            "read_url, found `juggle`");
  EXPECT_EQ(rendered(R"([{"role": "user", "content": "U", "task": 5}])"),
            "message field `task`: expected a string, found the integer 5");
}

TEST(FillIn, BracesAreThoseOfPython) {
  EXPECT_EQ(fill_in("{{a}} {b}{c}", {{"b", "{c}"}, {"c", "d"}}).value(), "{a} {c}d");
  EXPECT_EQ(fill_in("{", {}).error().message, "expected braces in pairs, found one alone");
  EXPECT_EQ(fill_in("}", {}).error().message, "expected braces in pairs, found one alone");
}

}  // namespace
}  // namespace varve
