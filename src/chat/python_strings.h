// String constants of a Python module, read without running it: some checkpoints keep the texts of
// their prompts in the source of an encoder.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace varve {

/// The value that a module's top level gives `name` by string literals alone, one or several, in
/// parentheses or not: `NAME = "..."`, `NAME: str = ("..." "...")`. Of several the last, as Python
/// has it. Nothing where there is no such assignment. `file` begins error messages.
/// Errors (bad_input): the last one is bytes or an f-string, names characters by \N{...}, or is
/// part of a longer expression, `+=` too; a literal is not closed; the text is not UTF-8.
Result<std::optional<std::string>> python_string(std::string_view source, std::string_view name,
                                                 const std::string& file);

/// A literal whose value is `text`, on one line. `text` is UTF-8.
std::string python_literal(std::string_view text);

}  // namespace varve
