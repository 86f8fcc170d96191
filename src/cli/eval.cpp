// varve eval: what a model computes, in numbers that can be compared.
#include "cli/eval_verbs.h"

namespace varve::cli {

void add_eval(CLI::App& app, Action& action) {
  CLI::App* const verb = app.add_subcommand("eval", "Numbers about what a model computes");
  verb->require_subcommand(1);
  add_eval_ppl(*verb, action);
  add_eval_kld(*verb, action);
  add_eval_needle(*verb, action);
  add_eval_ladder(*verb, action);
  add_eval_logits(*verb, action);
}

}  // namespace varve::cli
