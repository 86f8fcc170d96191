#include "server/answering.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "server/anthropic_response.h"
#include "server/openai_response.h"
#include "server/responses_response.h"
#include "tokenizer/test_tokenizer_json.h"

namespace varve::server {
namespace {

using Json = nlohmann::ordered_json;

// What a model says that thinks, speaks and calls.
constexpr std::string_view kText =
    "I look\n</think>Here:<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": [1, "
    "\"a\"]}}</tool_call>"
    "<tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>";

class CollectingStream : public HttpStream {
 public:
  bool write(std::string_view bytes) override {
    text += bytes;
    return --writes_left != 0;
  }
  bool has_client() const override { return true; }

  std::string text;
  int writes_left = -1;
};

class AnsweringTest : public testing::Test {
 protected:
  // A generation that has said it all, some bytes at a time.
  static std::shared_ptr<Generation> said(std::string_view text, size_t n_bytes,
                                          FinishReason reason) {
    auto generation = std::make_shared<Generation>(GenerationRequest{.prompt = {1, 2, 3}}, 1000,
                                                   std::make_shared<Doorbell>());
    generation->push(Admitted{2});
    for (size_t at = 0; at < text.size(); at += n_bytes) {
      generation->push(
          Piece{.text = std::string(text.substr(at, n_bytes)), .tokens = {{.id = 97}}});
    }
    generation->push(Finished{.reason = reason, .n_sampled = 40, .ids = {97}, .text = "a"});
    return generation;
  }

  AnswerJob job(std::shared_ptr<Generation> generation, std::unique_ptr<AnswerWriter> writer) {
    AnswerJob out(std::move(generation), std::move(writer));
    out.parser = make_answer_parser({.reasoning = AnswerSyntax::Reasoning::open,
                                     .calls = AnswerSyntax::Calls::tagged_json,
                                     .trims_lines = true});
    out.memory = &memory_;
    out.tokenizer = &tokenizer_;
    return out;
  }
  Json whole(std::unique_ptr<AnswerWriter> writer) {
    const auto text = whole_answer(job(said(kText, 5, FinishReason::end_token), std::move(writer)),
                                   [] { return true; });
    EXPECT_TRUE(text);
    return Json::parse(*text);
  }
  // The data of its events.
  std::vector<Json> stream(std::unique_ptr<AnswerWriter> writer, size_t n_bytes) {
    return stream(job(said(kText, n_bytes, FinishReason::end_token), std::move(writer)));
  }
  static std::vector<Json> stream(AnswerJob job) {
    CollectingStream out;
    stream_answer(std::move(job), out);
    std::vector<Json> all;
    for (size_t at = 0; (at = out.text.find("data: {", at)) != out.text.npos;) {
      const size_t end = out.text.find('\n', at);
      all.push_back(Json::parse(out.text.substr(at + 6, end - at - 6)));
      at = end;
    }
    return all;
  }

  std::unique_ptr<AnswerWriter> chat() const {
    return make_chat_completion_writer(tokenizer_, {.model = "m"});
  }
  std::unique_ptr<AnswerWriter> responses() const {
    return make_responses_writer(
        tokenizer_, {.model = "m", .body = RequestFields::of_body("{\"input\":\"a\"}").value()});
  }

  const Tokenizer tokenizer_ =
      Tokenizer::parse(byte_level_json({{"a", "b"}}).dump(), "test.json").value();
  TranscriptMemory memory_{tokenizer_, {}};
};

TEST_F(AnsweringTest, ChatCompletionsHaveReasoningAndCalls) {
  const Json answer = whole(chat());
  const Json& choice = answer["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  const Json& message = choice["message"];
  EXPECT_EQ(message["reasoning_content"], "I look");
  EXPECT_EQ(message["content"], "Here:");
  ASSERT_EQ(message["tool_calls"].size(), 2U);
  EXPECT_EQ(message["tool_calls"][0]["function"]["name"], "f");
  EXPECT_EQ(Json::parse(message["tool_calls"][0]["function"]["arguments"].get<std::string>()),
            Json::parse(R"({"x": [1, "a"]})"));
  EXPECT_EQ(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 2);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 40);
}

TEST_F(AnsweringTest, TheirStreamsSayTheSame) {
  for (const size_t n_bytes : {1, 3, 1000}) {
    std::string reasoning, content;
    std::vector<Json> calls;
    Json reason;
    for (const Json& chunk : stream(chat(), n_bytes)) {
      const Json& choice = chunk["choices"][0];
      reasoning += choice["delta"].value("reasoning_content", "");
      content += choice["delta"].value("content", "");
      for (const Json& call : choice["delta"].value("tool_calls", Json::array())) {
        calls.push_back(call);
      }
      if (!choice["finish_reason"].is_null()) reason = choice["finish_reason"];
    }
    EXPECT_EQ(reasoning, "I look");
    EXPECT_EQ(content, "Here:");
    EXPECT_EQ(reason, "tool_calls");
    ASSERT_EQ(calls.size(), 2U);
    EXPECT_EQ(calls[0]["index"], 0);
    EXPECT_EQ(calls[1]["index"], 1);
    EXPECT_EQ(calls[1]["function"]["name"], "g");
    EXPECT_EQ(calls[1]["function"]["arguments"], "{}");
  }
}

TEST_F(AnsweringTest, MessagesHaveBlocks) {
  const Json answer = whole(make_messages_writer("m"));
  EXPECT_EQ(answer["stop_reason"], "tool_use");
  ASSERT_EQ(answer["content"].size(), 4U);
  EXPECT_EQ(answer["content"][0]["thinking"], "I look");
  EXPECT_EQ(answer["content"][1]["text"], "Here:");
  EXPECT_EQ(answer["content"][2]["name"], "f");
  EXPECT_EQ(answer["content"][2]["input"], Json::parse(R"({"x": [1, "a"]})"));
  EXPECT_EQ(answer["usage"]["input_tokens"], 1);
  EXPECT_EQ(answer["usage"]["cache_read_input_tokens"], 2);
}

TEST_F(AnsweringTest, TheirStreamsOpenAndCloseThem) {
  for (const size_t n_bytes : {1, 4, 1000}) {
    Json blocks = Json::array();
    bool is_open = false;
    Json end;
    for (const Json& event : stream(make_messages_writer("m"), n_bytes)) {
      if (event["type"] == "content_block_start") {
        EXPECT_FALSE(is_open);
        EXPECT_EQ(event["index"], blocks.size());
        blocks.push_back({{"type", event["content_block"]["type"]}, {"text", ""}});
        is_open = true;
      } else if (event["type"] == "content_block_delta") {
        EXPECT_TRUE(is_open);
        const Json& delta = event["delta"];
        for (const char* const key : {"thinking", "text", "partial_json"}) {
          blocks.back()["text"] = blocks.back()["text"].get<std::string>() + delta.value(key, "");
        }
      } else if (event["type"] == "content_block_stop") {
        EXPECT_TRUE(is_open);
        is_open = false;
      } else if (event["type"] == "message_delta") {
        end = event["delta"]["stop_reason"];
      }
    }
    EXPECT_EQ(blocks, Json::parse(R"([{"type": "thinking", "text": "I look"},
      {"type": "text", "text": "Here:"}, {"type": "tool_use", "text": "{\"x\":[1,\"a\"]}"},
      {"type": "tool_use", "text": "{}"}])"));
    EXPECT_EQ(end, "tool_use");
  }
}

// DeepSeek-V4's calls, whose arguments come while they are written.
class GrowingCalls : public AnsweringTest {
 protected:
  // Bytes of a text, some at a time, as one API streams them.
  std::vector<Json> stream_of(std::string_view text, size_t n_bytes,
                              std::unique_ptr<AnswerWriter> writer) {
    AnswerJob asked = job(said(text, n_bytes, FinishReason::end_token), std::move(writer));
    asked.parser = make_answer_parser({.calls = AnswerSyntax::Calls::dsml});
    return stream(std::move(asked));
  }

  const std::string value_ = std::string(60, 'v');
  const std::string begun_ =
      "So:\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n"
      "<｜DSML｜parameter name=\"x\" string=\"true\">" +
      value_;
  const std::string text_ = begun_ +
                            "</｜DSML｜parameter>\n</｜DSML｜invoke>\n<｜DSML｜invoke name=\"g\">\n"
                            "</｜DSML｜invoke>\n</｜DSML｜tool_calls>";
  const std::string arguments_ = "{\"x\": \"" + value_ + "\"}";
};

TEST_F(GrowingCalls, InChatCompletions) {
  for (const size_t n_bytes : {1, 7, 10000}) {
    std::vector<std::string> names, arguments;
    size_t n_deltas = 0;
    Json reason;
    for (const Json& chunk : stream_of(text_, n_bytes, chat())) {
      const Json& choice = chunk["choices"][0];
      if (!choice["finish_reason"].is_null()) reason = choice["finish_reason"];
      for (const Json& call : choice["delta"].value("tool_calls", Json::array())) {
        const auto index = call["index"].get<size_t>();
        if (index == names.size()) {
          EXPECT_EQ(call["type"], "function");
          EXPECT_FALSE(call["id"].get<std::string>().empty());
          names.push_back(call["function"]["name"]);
          arguments.emplace_back();
        } else {
          EXPECT_EQ(index + 1, names.size());
          EXPECT_FALSE(call.contains("id"));
        }
        arguments[index] += call["function"]["arguments"];
        ++n_deltas;
      }
    }
    EXPECT_EQ(names, (std::vector<std::string>{"f", "g"}));
    EXPECT_EQ(arguments, (std::vector<std::string>{arguments_, "{}"}));
    EXPECT_EQ(reason, "tool_calls");
    EXPECT_EQ(n_deltas == 2, n_bytes == 10000);
  }
}

TEST_F(GrowingCalls, InMessages) {
  for (const size_t n_bytes : {1, 7, 10000}) {
    Json blocks = Json::array();
    size_t n_open = 0;
    for (const Json& event : stream_of(text_, n_bytes, make_messages_writer("m"))) {
      if (event["type"] == "content_block_start") {
        EXPECT_EQ(n_open++, 0U);
        EXPECT_EQ(event["index"], blocks.size());
        blocks.push_back({event["content_block"].value("name", "text"), ""});
      } else if (event["type"] == "content_block_delta") {
        const Json& delta = event["delta"];
        std::string all = blocks.back()[1];
        for (const char* const key : {"text", "partial_json"}) all += delta.value(key, "");
        blocks.back()[1] = all;
      } else if (event["type"] == "content_block_stop") {
        EXPECT_EQ(--n_open, 0U);
      }
    }
    ASSERT_EQ(blocks.size(), 3U);
    EXPECT_EQ(blocks[0], (Json{"text", "So:"}));
    EXPECT_EQ(blocks[1][0], "f");
    EXPECT_EQ(Json::parse(blocks[1][1].get<std::string>()), Json::parse(arguments_));
    EXPECT_EQ(blocks[2], (Json{"g", "{}"}));
  }
}

TEST_F(GrowingCalls, InResponses) {
  const std::vector<Json> whole = stream_of(text_, 10000, responses());
  const std::vector<Json> pieces = stream_of(text_, 1, responses());
  EXPECT_GT(pieces.size(), whole.size() + 20);
  std::string deltas;
  for (const Json& event : pieces) {
    if (event["type"] == "response.function_call_arguments.delta" && event["output_index"] == 1) {
      deltas += event["delta"];
    }
  }
  EXPECT_EQ(deltas, arguments_);
  for (const std::vector<Json>& events : {whole, pieces}) {
    const Json& output = events.back()["response"]["output"];
    ASSERT_EQ(output.size(), 3U);
    EXPECT_EQ(output[1]["name"], "f");
    EXPECT_EQ(output[1]["arguments"], arguments_);
    EXPECT_EQ(output[2]["arguments"], "{}");
    EXPECT_EQ(output[1]["status"], "completed");
  }
}

// A call that never ends is content in the end, and none was made.
TEST_F(GrowingCalls, OneThatBreaksOffIsContent) {
  for (const size_t n_bytes : {1, 10000}) {
    std::string content;
    Json reason;
    for (const Json& chunk : stream_of(begun_, n_bytes, chat())) {
      content += chunk["choices"][0]["delta"].value("content", "");
      reason = chunk["choices"][0]["finish_reason"];
    }
    EXPECT_EQ(content, begun_);
    EXPECT_EQ(reason, "stop");
    std::string text;
    size_t n_open = 0;
    for (const Json& event : stream_of(begun_, n_bytes, make_messages_writer("m"))) {
      if (event["type"] == "content_block_start") ++n_open;
      if (event["type"] == "content_block_stop") --n_open;
      EXPECT_LE(n_open, 1U);
      if (event["type"] == "content_block_delta") text += event["delta"].value("text", "");
    }
    EXPECT_EQ(text, begun_);
  }
}

TEST_F(AnsweringTest, ResponsesHaveItems) {
  const Json answer = whole(responses());
  EXPECT_EQ(answer["status"], "completed");
  std::vector<std::string> types;
  for (const Json& item : answer["output"]) types.push_back(item["type"]);
  EXPECT_EQ(types,
            (std::vector<std::string>{"reasoning", "message", "function_call", "function_call"}));
  EXPECT_EQ(answer["output"][0]["content"][0]["text"], "I look");
  EXPECT_EQ(answer["output"][1]["content"][0]["text"], "Here:");
  EXPECT_EQ(answer["output"][3]["name"], "g");
  // The stream's last event holds the same, but for ids.
  const std::vector<Json> events = stream(responses(), 2);
  const Json& last = events.back();
  EXPECT_EQ(last["type"], "response.completed");
  ASSERT_EQ(last["response"]["output"].size(), 4U);
  EXPECT_EQ(last["response"]["output"][2]["arguments"], answer["output"][2]["arguments"]);
  for (size_t i = 0; i < events.size(); ++i) EXPECT_EQ(events[i]["sequence_number"], i);
}

// What was sampled as text is marked as text, also in the part of a token that a stop string left.
TEST_F(AnsweringTest, TurnsThatCallAreKeptWithMarks) {
  nlohmann::json json = byte_level_json({{"b", "c"}});
  json["added_tokens"] = {added_token_json("<u>", 257), added_token_json("<tool_call>", 258)};
  const Tokenizer tokenizer = Tokenizer::parse(json.dump(), "test.json").value();
  const std::string text =
      "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\": \"<u>\"}}</tool_call>b";
  const auto generation = std::make_shared<Generation>(GenerationRequest{.prompt = {1}}, 1000,
                                                       std::make_shared<Doorbell>());
  generation->push(Admitted{});
  std::vector<int32_t> ids = {258};
  for (const char c : text.substr(11, text.size() - 12)) ids.push_back(c);
  for (const int32_t id : ids) {
    generation->push(Piece{.text = std::string(tokenizer.piece(id)), .tokens = {{.id = id}}});
  }
  generation->push(Piece{.text = "b", .tokens = {}});
  generation->push(Finished{.reason = FinishReason::stop_string, .stop_string = "c", .ids = ids});
  AnswerMemory answers({});
  AnswerJob asked = job(generation, chat());
  asked.parser = make_answer_parser({.calls = AnswerSyntax::Calls::tagged_json});
  asked.answers = &answers;
  asked.tokenizer = &tokenizer;
  const auto whole = whole_answer(std::move(asked), [] { return true; });
  ASSERT_TRUE(whole);
  ChatRequest again =
      parse_chat_request("[" + Json::parse(*whole)["choices"][0]["message"].dump() + "]", "test")
          .value();
  answers.recall(again);
  ASSERT_EQ(again.raw_answers.size(), 1U);
  EXPECT_FALSE(again.raw_answers[0].is_thought);
  const std::string& raw = again.raw_answers[0].text;
  EXPECT_EQ(raw, tokenizer.decode_marked(ids) + "b");
  EXPECT_NE(raw.find(tokenizer.as_plain_text("<u>")), raw.npos);
}

TEST_F(AnsweringTest, WhatIsMalformedIsContentAndLogged) {
  const std::string text = "why</think><tool_call>{</tool_call>";
  std::string logged;
  AnswerJob asked = job(said(text, 4, FinishReason::end_token), chat());
  asked.log = [&](const Usage&, std::string_view what) { logged = what; };
  const auto whole = whole_answer(std::move(asked), [] { return true; });
  ASSERT_TRUE(whole);
  EXPECT_EQ(Json::parse(*whole)["choices"][0]["message"]["content"], "<tool_call>{</tool_call>");
  EXPECT_EQ(logged, "stop; a block of tool calls is malformed");
}

TEST_F(AnsweringTest, WhatFailsIsSaidInTheStream) {
  for (const bool has_begun : {false, true}) {
    auto generation = std::make_shared<Generation>(GenerationRequest{.prompt = {1}}, 10,
                                                   std::make_shared<Doorbell>());
    if (has_begun) generation->push(Admitted{});
    generation->push(Failed{{ErrorKind::internal, "it broke"}});
    CollectingStream out;
    stream_answer(job(generation, responses()), out);
    EXPECT_NE(out.text.find(has_begun ? "event: response.failed\n" : "event: error\n"),
              out.text.npos);
    EXPECT_NE(out.text.find("it broke"), out.text.npos);
  }
}

TEST_F(AnsweringTest, AReaderThatLeavesCancelsTheRest) {
  const auto generation = said(kText, 5, FinishReason::length);
  CollectingStream out;
  out.writes_left = 3;
  stream_answer(job(generation, chat()), out);
  EXPECT_TRUE(generation->is_cancelled());
  const auto silent = std::make_shared<Generation>(GenerationRequest{.prompt = {1}}, 10,
                                                   std::make_shared<Doorbell>());
  EXPECT_FALSE(whole_answer(job(silent, chat()), [] { return false; }));
  EXPECT_TRUE(silent->is_cancelled());
}

}  // namespace
}  // namespace varve::server
