// Any bytes as a chat template: it is refused with a sentence, or it renders a conversation or
// refuses that with one, within its limits.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "chat/chat_format.h"
#include "chat/jinja/json.h"
#include "chat/jinja/template.h"
#include "tokenizer/utf8.h"

namespace {

constexpr std::string_view kVariables = R"({
  "messages": [{"role": "system", "content": " S "}, {"role": "user", "content": "U\u00e91"},
    {"role": "assistant", "content": "<think>\nt\n</think>\nA", "tool_calls": [{"type": "function",
      "id": "abcdefghi", "function": {"name": "f", "arguments": {"x": [1, 2.5, null, true]}}}]},
    {"role": "tool", "content": "r"}, {"role": "user", "content": [{"type": "text", "text": "p"}]}],
  "tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": {"type": "int"}}}}],
  "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>", "n": 3})";

void require(bool holds) {
  if (!holds) std::abort();
}

void require_sentence(const varve::Error& error) {
  require(error.kind == varve::ErrorKind::bad_input);
  require(error.message.starts_with("fuzz.jinja: "));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const varve::jinja::Value variables =
      varve::jinja::from_json(kVariables, "variables").value();
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const auto parsed = varve::jinja::Template::parse(source, "fuzz.jinja");
  if (!parsed) {
    require_sentence(parsed.error());
    return 0;
  }
  constexpr size_t kMaxOutput = 1 << 20;
  const auto text = parsed->render(*variables.dict(), 1'000'000'000,
                                   {.steps = 200'000, .output_bytes = kMaxOutput});
  if (!text) {
    require_sentence(text.error());
    return 0;
  }
  require(text->size() <= kMaxOutput);
  require(varve::is_utf8(*text));
  return 0;
}
