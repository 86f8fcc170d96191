// What an assistant's message says, in one spelling: two that say the same are equal, whoever put
// them into JSON.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "chat/jinja/value.h"

namespace varve {

/// `text` without the marks of Tokenizer::as_plain_text.
std::string without_marks(std::string_view text);

/// White space around texts and marks in them are left out.
struct SaidTurn {
  std::vector<std::string> ids;
  std::string calls;  // names and arguments
  std::string content;
  std::string reasoning;

  size_t n_bytes() const;
  bool has_words_of(const SaidTurn& other) const {
    return calls == other.calls && content == other.content;
  }
};

/// Without ids where the message is no assistant's, calls no tools, or calls them by no ids.
SaidTurn said_turn(const jinja::Value& message);

}  // namespace varve
