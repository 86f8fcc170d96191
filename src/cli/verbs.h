// The verbs of the program. Each adds itself to the command line and, when it is the one that was
// asked for, leaves what is to be done in `action`.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "base/result.h"

namespace varve::cli {

using Action = std::function<Result<void>()>;

void add_run(CLI::App& app, Action& action);
void add_chat(CLI::App& app, Action& action);
void add_serve(CLI::App& app, Action& action);
void add_inspect(CLI::App& app, Action& action);
void add_eval(CLI::App& app, Action& action);
void add_plan(CLI::App& app, Action& action);
void add_tune(CLI::App& app, Action& action);
void add_bench(CLI::App& app, Action& action);
void add_make_model(CLI::App& app, Action& action);
void add_convert(CLI::App& app, Action& action);
void add_store(CLI::App& app, Action& action);

}  // namespace varve::cli
