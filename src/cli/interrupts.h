// Ctrl-C as something to ask about while the program works, and to wait for while it does not.
#pragma once

#include "base/result.h"

namespace varve::cli {

/// Which signals count as an interrupt: SIGINT (Ctrl-C), or SIGTERM (kill) too.
enum class Interrupts { ctrl_c, ctrl_c_and_terminate };

/// From here on Ctrl-C is counted and does not end the program. Error (internal): no pipe to be
/// had.
Result<void> catch_interrupts(Interrupts which = Interrupts::ctrl_c);

/// Whether there was one since the last forget_interrupts().
bool was_interrupted();
void forget_interrupts();

/// Can be read where was_interrupted(): to poll() together with other input, so that none is missed
/// between asking and waiting. -1 before catch_interrupts().
int interrupt_file();

}  // namespace varve::cli
