// A conversation in a file, so that a later run goes on with it: what was said, and the ids of what
// was sampled. One JSON object:
//
//   {"schema": "varve.chat/1", "system": "...", "messages": [{"role": ..}, ...],
//    "transcript": ["text that was read", [ids that were sampled], ...]}
#pragma once

#include <string>

#include "cli/conversation.h"

namespace varve::cli {

/// Nothing is there yet: an empty conversation. Errors (bad_input) name the file and what is wrong
/// with it.
Result<SavedConversation> read_transcript(const std::string& path, const Tokenizer& tokenizer);

/// Replaces the file as a whole. Error (internal): it cannot be written.
Result<void> write_transcript(const std::string& path, const SavedConversation& saved);

}  // namespace varve::cli
