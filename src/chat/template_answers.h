// What models wrote, in place of what clients sent back, in the text that a template makes of a
// conversation.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "chat/chat_format.h"

namespace varve {

/// A conversation with other messages in it, rendered: all else stays as it is.
using RenderMessages = std::function<Result<std::string>(std::vector<jinja::Value>)>;

/// `as_sent`, which is what `render` makes of the request's messages, with raw_answers where they
/// change nothing around them: a template may look back at calls, and would not see any in a text.
/// Such an answer, or all of them, stay as they were sent. `syntax` is how answers are written.
std::string with_raw_answers(const ChatRequest& request, std::string as_sent, AnswerSyntax syntax,
                             const RenderMessages& render);

}  // namespace varve
