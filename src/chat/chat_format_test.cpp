#include "chat/chat_format.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "formats/checkpoint.h"
#include "formats/gguf_writer.h"
#include "tokenizer/test_tokenizer_json.h"

namespace varve {
namespace {

using jinja::Value;
namespace fs = std::filesystem;

TEST(ChatRequest, IsReadFromJson) {
  const auto request = parse_chat_request(
      R"({"messages": [{"role": "user", "content": "x"}], "add_generation_prompt": true,
          "tools": [1], "enable_thinking": false})",
      "m.json");
  ASSERT_TRUE(request);
  EXPECT_EQ(request->messages.size(), 1U);
  EXPECT_TRUE(request->add_generation_prompt);
  EXPECT_TRUE(request->tools.truth());
  ASSERT_EQ(request->variables.size(), 1U);
  EXPECT_EQ(request->variables[0].first, "enable_thinking");
  EXPECT_FALSE(parse_chat_request("[]", "m.json")->add_generation_prompt);
  const auto refused = [](std::string_view json) {
    return parse_chat_request(json, "m.json").error().message;
  };
  EXPECT_EQ(refused("{}"), "m.json: field `messages`: expected an array, it is missing");
  EXPECT_EQ(refused("5"), "m.json: expected an array of messages, found the integer 5");
  EXPECT_EQ(refused("[5]"), "m.json: expected messages with a `role`, found the integer 5");
}

class LoadChatFormat : public testing::Test {
 protected:
  LoadChatFormat()
      : dir_(fs::temp_directory_path() / ("varve_chat_format." + std::to_string(getpid()))) {
    fs::create_directories(dir_);
  }
  ~LoadChatFormat() override { fs::remove_all(dir_); }
  void write(const std::string& name, std::string_view text) const {
    std::ofstream(dir_ / name) << text;
  }
  Result<std::unique_ptr<ChatFormat>> load(std::string_view model_type = "llama",
                                           const std::string& file = "") const {
    return load_chat_format(dir_.string(), model_type, file);
  }
  std::string rendered(bool with_tools = false) const {
    ChatRequest request;
    request.messages = {chat_message("user", "x")};
    if (with_tools) request.tools = jinja::make_list({Value::text("t")}).value();
    return load().value()->render(request).value();
  }

  const fs::path dir_;
};

TEST_F(LoadChatFormat, FindsTheTemplateOfTheDirectory) {
  EXPECT_EQ(load().value(), nullptr);
  EXPECT_EQ(load("deepseek_v4").value()->describe(), "DeepSeek-V4's own encoding");
  write("tokenizer_config.json",
        R"({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": null,
            "chat_template": "1{{ bos_token }}{{ eos_token }}{{ pad_token }}"})");
  EXPECT_EQ(rendered(), "1<s></s>");
  write("chat_template.jinja", "2{{ bos_token }}");
  EXPECT_EQ(rendered(), "2<s>");
  write("own.jinja", "3");
  EXPECT_EQ(load("llama", (dir_ / "own.jinja").string()).value()->render({}).value(), "3");
}

TEST_F(LoadChatFormat, NamedTemplates) {
  write("tokenizer_config.json",
        R"({"chat_template": [{"name": "default", "template": "d"}, {"name": "rag"
            , "template": "{{"}, {"name": "tool_use", "template": "t"}]})");
  EXPECT_EQ(rendered(), "d");
  EXPECT_EQ(rendered(true), "t");
  write("tokenizer_config.json", R"({"chat_template": [{"name": "tool_use", "template": "t"}]})");
  EXPECT_EQ(load().error().message,
            (dir_ / "tokenizer_config.json").string() +
                ": chat_template: expected a template named `default`, found none");
}

TEST_F(LoadChatFormat, BadFilesAreNamed) {
  const std::string config = (dir_ / "tokenizer_config.json").string();
  write("tokenizer_config.json", R"({"chat_template": "{{ x"})");
  EXPECT_EQ(load().error().message, config + ": chat_template: line 1: {{ is not closed");
  write("tokenizer_config.json", R"({"chat_template": 5})");
  EXPECT_EQ(load().error().message,
            config + ": chat_template: expected a string or a list, found the integer 5");
  write("tokenizer_config.json", "[]");
  EXPECT_EQ(load().error().message, config + ": expected a JSON object, found a list of 0");
  EXPECT_FALSE(load("llama", (dir_ / "nowhere.jinja").string()));
}

class LoadGgufChatFormat : public LoadChatFormat {
 protected:
  // Of a GGUF file with these entries and no tensors.
  Result<std::unique_ptr<ChatFormat>> load(const GgufEntries& entries,
                                           const std::string& file = "") const {
    const std::string path = (dir_ / "m.gguf").string();
    VARVE_TRY(GgufWriter writer, GgufWriter::create(path, entries, {}));
    VARVE_CHECKED(writer.finish());
    VARVE_TRY(const Checkpoint checkpoint, Checkpoint::open(path));
    return load_gguf_chat_format(*checkpoint.gguf(), file);
  }
  static GgufEntries entries(const char* architecture) {
    GgufEntries out;
    out.add("general.architecture", architecture);
    return out;
  }
  static GgufEntries with_vocabulary(uint32_t eos) {
    GgufEntries out = entries("llama");
    out.add("tokenizer.ggml.model", "gpt2");
    out.add("tokenizer.ggml.tokens", std::vector<std::string>{"a", "<s>", "</s>"});
    out.add("tokenizer.ggml.token_type", std::vector<int32_t>{1, 3, 3});
    out.add("tokenizer.ggml.bos_token_id", 1u);
    out.add("tokenizer.ggml.eos_token_id", eos);
    return out;
  }
};

TEST_F(LoadGgufChatFormat, FindsTheTemplateInTheMetadata) {
  GgufEntries own = with_vocabulary(2);
  own.add("tokenizer.chat_template", "1{{ bos_token }}{{ eos_token }}{{ pad_token }}");
  EXPECT_EQ(load(own).value()->render({}).value(), "1<s></s>");
  write("other.jinja", "2{{ bos_token }}");
  const std::string other = (dir_ / "other.jinja").string();
  EXPECT_EQ(load(own, other).value()->render({}).value(), "2<s>");
  EXPECT_EQ(load(entries("llama"), other).value()->render({}).value(), "2");
  EXPECT_FALSE(load(own, (dir_ / "nowhere.jinja").string()));
}

TEST_F(LoadGgufChatFormat, WithoutATemplate) {
  EXPECT_EQ(load(with_vocabulary(2)).value(), nullptr);
  EXPECT_EQ(load(entries("deepseek4")).value()->describe(), "DeepSeek-V4's own encoding");
}

TEST_F(LoadGgufChatFormat, BadMetadataIsNamed) {
  const std::string name = (dir_ / "m.gguf").string() + ": ";
  GgufEntries open = entries("llama");
  open.add("tokenizer.chat_template", "{{ x");
  EXPECT_EQ(load(open).error().message, name + "tokenizer.chat_template: line 1: {{ is not closed");
  GgufEntries number = entries("llama");
  number.add("tokenizer.chat_template", 5u);
  EXPECT_EQ(load(number).error().message.find(name + "key `tokenizer.chat_template`: expected "),
            0u);
  // An id that names no token has no text here; loading the tokenizer refuses it.
  GgufEntries outside = with_vocabulary(3);
  outside.add("tokenizer.chat_template", "{{ bos_token }}{{ eos_token }}");
  EXPECT_EQ(load(outside).value()->render({}).value(), "<s>");
}

TEST(EndOfTurn, IsTheSpecialTokenBehindAnAnswer) {
  nlohmann::json json = byte_level_json();
  json["added_tokens"].push_back(added_token_json("<end>", 256));
  const Tokenizer tokenizer = Tokenizer::parse(json.dump(), "test.json").value();
  const auto end = [&](std::string_view source) {
    return end_of_turn_id(*make_template_format(source, "t", {}).value(), tokenizer);
  };
  EXPECT_EQ(end("{% for m in messages %}{{ m.content }} <end>\n{% endfor %}"), 256);
  EXPECT_EQ(end("{% for m in messages %}{{ m.content }}\n{% endfor %}"), std::nullopt);
  EXPECT_EQ(end("{{ raise_exception('no') }}"), std::nullopt);
  EXPECT_EQ(end("nothing"), std::nullopt);
}

}  // namespace
}  // namespace varve
