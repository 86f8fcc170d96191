// Ctrl-C as something to ask about while the program works, and to wait for while it does not.
#pragma once

#include "base/result.h"

namespace varve::cli {

/// From here on Ctrl-C is counted and does not end the program. Error (internal): no pipe to be
/// had.
Result<void> catch_interrupts();

/// Whether there was one since the last forget_interrupts().
bool was_interrupted();
void forget_interrupts();

/// Can be read where was_interrupted(): to poll() together with other input, so that none is missed
/// between asking and waiting. -1 before catch_interrupts().
int interrupt_file();

}  // namespace varve::cli
