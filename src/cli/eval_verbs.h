// The verbs under `varve eval`, a file each.
#pragma once

#include "cli/verbs.h"

namespace varve::cli {

void add_eval_logits(CLI::App& eval, Action& action);
void add_eval_ppl(CLI::App& eval, Action& action);
void add_eval_kld(CLI::App& eval, Action& action);
void add_eval_needle(CLI::App& eval, Action& action);
void add_eval_ladder(CLI::App& eval, Action& action);

}  // namespace varve::cli
