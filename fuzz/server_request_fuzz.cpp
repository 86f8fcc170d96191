// Any bytes as the body of a request, to each endpoint that reads one: it is refused with a
// sentence, or what it asks for is within what the engine takes and can be rendered or refused.
// The first byte chooses the endpoint.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "chat/chat_format.h"
#include "server/anthropic_request.h"
#include "server/openai_request.h"
#include "server/responses_request.h"
#include "tokenizer/utf8.h"

namespace {

using namespace varve;
using namespace varve::server;

void require(bool holds) {
  if (!holds) std::abort();
}

void require_sentence(const Error& error) {
  require(error.kind == ErrorKind::bad_input);
  require(!error.message.empty() && error.message.find('\n') == std::string::npos);
  require(is_utf8(error.message));
}

void require_chat(const ChatRequest& chat) {
  require(!chat.messages.empty());
  for (const jinja::Value& message : chat.messages) {
    const jinja::Value* const role = message.dict()->find("role");
    require(role != nullptr && role->text() != nullptr);
    const jinja::Value* const content = message.dict()->find("content");
    require(content != nullptr && content->text() != nullptr);
  }
  static const auto format = make_deepseek_v4_format();
  const auto text = format->render(chat);
  if (text) {
    require(is_utf8(*text));
  } else {
    require(!text.error().message.empty());
  }
}

void require_call(const TextCall& call) {
  const SamplerOptions& sampling = call.generation.sampling;
  require(sampling.temperature >= 0 && sampling.temperature <= 2);
  require(sampling.top_p > 0 && sampling.top_p <= 1 && sampling.top_k >= 0);
  require(call.generation.max_tokens.value_or(0) >= 0);
  require(call.generation.n_top_logprobs.value_or(0) <= 20);
  for (const std::string& stop : call.generation.stop_strings) require(!stop.empty());
  if (call.chat) require_chat(*call.chat);
}

template <class T, class Check>
void require_read(const Result<T>& read, Check check) {
  if (read) {
    check(*read);
  } else {
    require_sentence(read.error());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto body = RequestFields::of_body({reinterpret_cast<const char*>(data) + 1, size - 1});
  if (!body) {
    require_sentence(body.error());
    return 0;
  }
  const CallDefaults defaults;
  switch (data[0] % 5) {
    case 0:
      require_read(read_chat_completion(*body, defaults), require_call);
      break;
    case 1:
      require_read(read_completion(*body, defaults), require_call);
      break;
    case 2:
      require_read(read_messages(*body, defaults), require_call);
      break;
    case 3:
      require_read(read_responses(*body, defaults),
                   [](const ResponsesCall& read) { require_call(read.call); });
      break;
    default:
      require_read(read_anthropic_chat(*body, defaults), require_chat);
  }
  return 0;
}
