// varve eval logits: logits at every position, as a file.
#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "cli/eval_setup.h"
#include "cli/eval_verbs.h"
#include "cli/progress.h"
#include "eval/logits.h"

namespace varve::cli {
namespace {

struct LogitsFlags {
  EngineFlags engine;
  std::string ids_file;
  std::string out_file;
};

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

Result<void> eval_logits(const LogitsFlags& flags) {
  VARVE_TRY(EngineOptions options, flags.engine.options());
  VARVE_TRY(const std::vector<int32_t> ids, read_ids(flags.ids_file));
  VARVE_TRY(const EvalModel from, open_model(flags.engine));
  if (options.ctx_tokens == 0) options.ctx_tokens = static_cast<int>(ids.size());
  options.resume_points = 0;  // nothing is rewound
  VARVE_TRY(options, flags.engine.fit(*from.model, options, nullptr, options.ctx_tokens));
  VARVE_TRY(const std::unique_ptr<Engine> engine, Engine::create(from.model, options));
  VARVE_CHECKED(flags.engine.place_weights(*from.model, engine->memory().arena_bytes));
  VARVE_TRY(Session session, engine->new_session());

  const std::unique_ptr<std::FILE, FileCloser> out(std::fopen(flags.out_file.c_str(), "wb"));
  if (!out) {
    return usage_error("--out {}: cannot write: {}", flags.out_file, std::strerror(errno));
  }
  const auto vocab = static_cast<size_t>(from.model->vocab_size());
  Progress progress("logits", static_cast<double>(ids.size()), "tokens");
  const auto write = [&](int first, int n_rows, const float* logits) -> Result<void> {
    const size_t count = static_cast<size_t>(n_rows) * vocab;
    if (std::fwrite(logits, sizeof(float), count, out.get()) != count) {
      return fail(ErrorKind::internal, "{}: cannot write: {}", flags.out_file,
                  std::strerror(errno));
    }
    progress.update(first + n_rows);
    return {};
  };
  VARVE_CHECKED(read_with_logits(*engine, session, ids, 0, write));
  progress.finish();
  if (std::fflush(out.get()) != 0) {
    return fail(ErrorKind::internal, "{}: cannot write: {}", flags.out_file, std::strerror(errno));
  }
  fmt::print(stderr, "{}: f32 logits [{}, {}], {}, {} products, kernels {}\n", flags.out_file,
             ids.size(), vocab, describe_formats(engine->cache().layout()),
             products_name(options.products), engine->kernels().name);
  return {};
}

}  // namespace

void add_eval_logits(CLI::App& eval, Action& action) {
  CLI::App* const verb =
      eval.add_subcommand("logits", "Logits at every position, as raw little-endian f32");
  const auto flags = std::make_shared<LogitsFlags>();
  flags->engine.numerics = "reference";  // what outside implementations are compared with
  flags->engine.add_to(*verb);
  verb->add_option("--ids", flags->ids_file, "File of whitespace-separated token ids; '-' is stdin")
      ->required();
  verb->add_option("--out", flags->out_file, "File to write: f32 [n_ids, vocab_size]")->required();
  verb->callback([flags, &action] { action = [flags] { return eval_logits(*flags); }; });
}

}  // namespace varve::cli
