// Requests of Anthropic's `POST /v1/messages` and `POST /v1/messages/count_tokens`.
#pragma once

#include "server/text_call.h"

namespace varve::server {

/// Errors (bad_input) name the field.
Result<TextCall> read_messages(const RequestFields& body, const CallDefaults& defaults);

/// The conversation alone: `system`, `messages`, `tools`, `thinking`.
Result<ChatRequest> read_anthropic_chat(const RequestFields& body, const CallDefaults& defaults);

}  // namespace varve::server
