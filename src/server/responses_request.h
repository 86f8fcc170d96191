// Requests of OpenAI's `POST /v1/responses`.
#pragma once

#include "server/text_call.h"

namespace varve::server {

struct ResponsesCall {
  TextCall call;
  RequestFields body;  // of which the answer repeats some
};

/// Errors (bad_input) name the field.
Result<ResponsesCall> read_responses(const RequestFields& body, const CallDefaults& defaults);

}  // namespace varve::server
