// Messages to the text that a model reads, special tokens spelt out: by a Jinja template or, for
// DeepSeek-V4, which has none, by its own rules.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "chat/answer_parser.h"
#include "chat/deepseek_v4_texts.h"
#include "chat/jinja/value.h"
#include "tokenizer/tokenizer.h"

namespace varve {

class GgufMetadata;

/// What a model wrote in one turn.
struct RawAnswer {
  std::string text;  // as of Tokenizer::decode_marked: what was no special token becomes none
  bool is_thought = false;  // it began inside the reasoning (AnswerParser::begins_in_reasoning)
};

/// What is rendered: the variables of Hugging Face's `apply_chat_template`.
struct ChatRequest {
  std::vector<jinja::Value> messages;  // dictionaries with `role`, `content` and more
  jinja::Value tools = jinja::Value::none();
  bool add_generation_prompt = true;  // ends where the assistant is to begin
  std::vector<std::pair<std::string, jinja::Value>> variables = {};  // further ones, by name
  /// What the model wrote where it is known (AnswerMemory), by index in `messages`: it stands for
  /// what a message says, where all around it stays as it is.
  std::map<size_t, RawAnswer> raw_answers = {};
};

jinja::Value chat_message(std::string_view role, std::string_view content);

/// A request from JSON: an array of messages, or an object with `messages` and, where they are
/// given, `tools`, `add_generation_prompt` and further variables. `name` begins error messages.
Result<ChatRequest> parse_chat_request(std::string_view json, const std::string& name);

class ChatFormat {
 public:
  virtual ~ChatFormat() = default;

  /// Errors (bad_input): the template refuses the conversation, or something in it is not known.
  virtual Result<std::string> render(const ChatRequest& request) const = 0;

  /// Takes apart what the model writes after the rendered request. Without more knowledge all of it
  /// is content.
  virtual std::unique_ptr<AnswerParser> answer_parser(const ChatRequest& request) const;

  /// The message that a whole answer makes.
  jinja::Value answer(const ChatRequest& request, std::string_view text) const;

  /// Where the format comes from, for people.
  virtual std::string describe() const = 0;
};

/// Token texts that templates know by name: {"bos_token", "<s>"}, ...
using TokenTexts = std::vector<std::pair<std::string, std::string>>;

/// `name` stands for the template's place in messages. Errors: as of jinja::Template::parse.
Result<std::unique_ptr<ChatFormat>> make_template_format(std::string_view source,
                                                         const std::string& name,
                                                         TokenTexts tokens);

/// DeepSeek-V4's own encoding: chat, thinking, tools. A request that needs one of `texts` which is
/// not there is refused.
std::unique_ptr<ChatFormat> make_deepseek_v4_format(DeepseekV4Texts texts = {});

/// The format of a model directory: DIR/chat_template.jinja, or `chat_template` of
/// DIR/tokenizer_config.json (of several named ones `default`, or `tool_use` for requests with
/// tools), or that of the family `model_type` where it has one of its own. Null where there is
/// none. `template_file`, where not empty, goes before all of them.
Result<std::unique_ptr<ChatFormat>> load_chat_format(const std::string& dir,
                                                     std::string_view model_type,
                                                     const std::string& template_file);

/// The same of a GGUF file: `tokenizer.chat_template`, or the rules of its architecture.
Result<std::unique_ptr<ChatFormat>> load_gguf_chat_format(const GgufMetadata& metadata,
                                                          const std::string& template_file);

/// The token that ends an assistant's turn: the special token that the format puts behind an
/// answer. Nothing where it puts none there.
std::optional<int32_t> end_of_turn_id(const ChatFormat& format, const Tokenizer& tokenizer);

}  // namespace varve
