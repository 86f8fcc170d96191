// varve: the program. See verbs.h for what it can do.
#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <new>
#include <system_error>

#include "base/memory.h"
#include "cli/verbs.h"

namespace {

using namespace varve;

int run(int argc, char** argv) {
  CLI::App app("varve runs language models with long contexts: the KV cache comes first.", "varve");
  app.set_version_flag("--version", "varve 0.1.0");
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  cli::Action action;
  cli::add_run(app, action);
  cli::add_chat(app, action);
  cli::add_serve(app, action);
  cli::add_inspect(app, action);
  cli::add_plan(app, action);
  cli::add_tune(app, action);
  cli::add_eval(app, action);
  cli::add_bench(app, action);
  cli::add_convert(app, action);
  cli::add_make_model(app, action);
  cli::add_store(app, action);
  app.footer(
      "Exit codes: 0 done, 1 internal failure, 2 usage, 3 bad input.\n"
      "VARVE_KERNELS=ref|simd|... forces a kernel set.");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    fmt::print(stderr, "varve: {}; see --help\n", error.what());
    return 2;
  }
  const Result<void> done = action();
  if (done) return 0;
  fmt::print(stderr, "varve: {}\n", done.error().message);
  return exit_code(done.error());
}

}  // namespace

int main(int argc, char** argv) {
  // One heap for all threads: they hardly use any, and each of their own takes 64 MiB of address
  // space, which may be limited.
  mallopt(M_ARENA_MAX, 1);
  // A last line of defence: what the libraries below may throw.
  try {
    return run(argc, argv);
  } catch (const std::bad_alloc&) {
    const size_t left = std::min(available_memory_bytes(), address_space_left_bytes());
    std::fprintf(stderr,
                 "varve: memory has run out: %zu bytes are left of it or of what the limit on "
                 "address space (`ulimit -v`) allows\n",
                 left);
    return 2;
  } catch (const std::system_error& error) {  // of std::thread: each takes a stack
    std::fprintf(stderr, "varve: cannot go on with so many threads (--threads): %s\n",
                 error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "varve: %s\n", error.what());
    return 1;
  }
}
