// Answers of Anthropic's messages.
#pragma once

#include <memory>
#include <string>

#include "server/answer.h"

namespace varve::server {

std::unique_ptr<AnswerWriter> make_messages_writer(std::string model);

/// {"type": "error", "error": {...}}
std::string anthropic_error(const Problem& problem);

}  // namespace varve::server
