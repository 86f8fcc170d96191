// Requests of OpenAI's `POST /v1/chat/completions` and `POST /v1/completions`, and what other
// servers of them take beside: `top_k`, `min_p`, `chat_template_kwargs`, `ignore_eos`. A
// completion's `session` names one whose tokens stand before the prompt.
#pragma once

#include "server/text_call.h"

namespace varve::server {

/// Errors (bad_input) name the field.
Result<TextCall> read_chat_completion(const RequestFields& body, const CallDefaults& defaults);
Result<TextCall> read_completion(const RequestFields& body, const CallDefaults& defaults);

/// `messages` and `tools` alone.
Result<ChatRequest> read_chat_messages(const RequestFields& body, const CallDefaults& defaults);

/// A prompt: a string, an array of token ids, or an array with one of those.
Result<void> read_prompt(const RequestFields& body, std::string_view key, TextCall& call);

/// `reasoning_effort` as variables of the chat format.
Result<void> read_effort(const RequestFields& fields, std::string_view key, ChatRequest& request);

/// `tool_choice`: whether tools may be called. That they have to be is refused.
Result<bool> read_tool_choice(const RequestFields& fields);

}  // namespace varve::server
