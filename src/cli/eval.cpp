// varve eval: what a model computes, in numbers that can be compared.
#include <fmt/format.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <memory>

#include "cli/engine_flags.h"
#include "cli/model_path.h"
#include "cli/progress.h"
#include "cli/prompt.h"
#include "cli/verbs.h"

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

Result<std::vector<int32_t>> parse_ids(const std::string& text, const std::string& file) {
  std::vector<int32_t> ids;
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto is_space = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  while (true) {
    while (at != end && is_space(*at)) ++at;
    if (at == end) return ids;
    int32_t id = 0;
    const auto [next, error] = std::from_chars(at, end, id);
    if (error != std::errc() || (next != end && !is_space(*next))) {
      const std::string_view rest(at, static_cast<size_t>(end - at));
      return bad_input("{}: id {}: expected a whole number, found '{}'", file, ids.size(),
                       rest.substr(0, std::min<size_t>(rest.find_first_of(" \t\r\n"), 20)));
    }
    ids.push_back(id);
    at = next;
  }
}

Result<void> eval_logits(const LogitsFlags& flags) {
  VARVE_TRY(EngineOptions options, flags.engine.options());
  VARVE_TRY(const std::string path, model_or_bundled(flags.engine.model));
  VARVE_TRY(const std::string text, read_text(flags.ids_file));
  VARVE_TRY(const std::vector<int32_t> ids, parse_ids(text, flags.ids_file));
  if (ids.empty()) return bad_input("{}: no ids", flags.ids_file);
  VARVE_TRY(const std::shared_ptr<Model> model, load_model(path));
  VARVE_CHECKED(flags.engine.check_pools(*model));
  if (options.ctx_tokens == 0) options.ctx_tokens = static_cast<int>(ids.size());
  options.resume_points = 0;  // nothing is rewound
  VARVE_TRY(const std::unique_ptr<Engine> engine, Engine::create(model, options));
  VARVE_CHECKED(flags.engine.place_weights(*model, engine->memory().arena_bytes));
  VARVE_TRY(Session session, engine->new_session());
  VARVE_CHECKED(session.enqueue(ids));

  const std::unique_ptr<std::FILE, FileCloser> out(std::fopen(flags.out_file.c_str(), "wb"));
  if (!out) {
    return usage_error("--out {}: cannot write: {}", flags.out_file, std::strerror(errno));
  }
  const auto vocab = static_cast<size_t>(model->vocab_size());
  std::vector<float> logits(static_cast<size_t>(kMaxLogitRows) * vocab);
  std::vector<int32_t> rows;
  Progress progress("logits", static_cast<double>(ids.size()), "tokens");
  while (session.n_pending() > 0) {
    const int n = engine->step();
    for (int begin = 0; begin < n; begin += kMaxLogitRows) {
      rows.clear();
      for (int r = begin; r < std::min(n, begin + kMaxLogitRows); ++r) rows.push_back(r);
      engine->logits_of_rows(rows, logits.data());
      const size_t count = rows.size() * vocab;
      if (std::fwrite(logits.data(), sizeof(float), count, out.get()) != count) {
        return fail(ErrorKind::internal, "{}: cannot write: {}", flags.out_file,
                    std::strerror(errno));
      }
    }
    progress.update(session.n_tokens());
  }
  progress.finish();
  if (std::fflush(out.get()) != 0) {
    return fail(ErrorKind::internal, "{}: cannot write: {}", flags.out_file, std::strerror(errno));
  }
  fmt::print(stderr, "{}: f32 logits [{}, {}], {}, {} products, kernels {}\n", flags.out_file,
             ids.size(), vocab, describe_formats(engine->cache().layout()),
             options.products == Products::f32 ? "f32" : "bf16", engine->kernels().name);
  return {};
}

}  // namespace

void add_eval(CLI::App& app, Action& action) {
  CLI::App* const verb = app.add_subcommand("eval", "Numbers about what a model computes");
  verb->require_subcommand(1);
  CLI::App* const logits =
      verb->add_subcommand("logits", "Logits at every position, as raw little-endian f32");
  const auto flags = std::make_shared<LogitsFlags>();
  flags->engine.numerics = "reference";  // what outside implementations are compared with
  flags->engine.add_to(*logits);
  logits
      ->add_option("--ids", flags->ids_file, "File of whitespace-separated token ids; '-' is stdin")
      ->required();
  logits->add_option("--out", flags->out_file, "File to write: f32 [n_ids, vocab_size]")
      ->required();
  logits->callback([flags, &action] { action = [flags] { return eval_logits(*flags); }; });
}

}  // namespace varve::cli
