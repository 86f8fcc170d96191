// What is behind CompiledGrammar. For this folder's sources alone: it has xgrammar's types.
#pragma once

#include <xgrammar/xgrammar.h>

#include <exception>
#include <string>

#include "base/result.h"
#include "grammar/grammar_compiler.h"

namespace varve {

struct CompiledGrammar::Parts {
  xgrammar::CompiledGrammar grammar;
  int vocab_size = 0;
};

/// One line of what xgrammar says.
Error xgrammar_error(const std::exception& error);

}  // namespace varve
