// Tokens to a tree. What a template may contain and varve does not run is refused here, before any
// conversation is rendered.
#pragma once

#include <vector>

#include "chat/jinja/ast.h"
#include "chat/jinja/lexer.h"

namespace varve::jinja {

/// Errors say the line, what was expected and what was found.
Result<Body> parse(std::vector<Token> tokens);

}  // namespace varve::jinja
