// varve eval ppl: the perplexity of a text.
#include <fmt/format.h>

#include <memory>

#include "cli/eval_setup.h"
#include "cli/eval_verbs.h"
#include "cli/progress.h"
#include "eval/perplexity.h"

namespace varve::cli {
namespace {

constexpr int kDefaultChunk = 512;

struct PplFlags {
  EngineFlags engine;
  TextFlags text;
  bool json = false;
};

Result<void> eval_ppl(const PplFlags& flags) {
  VARVE_TRY(EngineOptions options, flags.engine.options());
  VARVE_TRY(const EvalModel from, open_model(flags.engine));
  VARVE_TRY(const std::vector<int32_t> ids, flags.text.read(from.path, *from.model));
  if (options.ctx_tokens == 0) {
    options.ctx_tokens = std::min(kDefaultChunk, from.model->max_position());
  }
  VARVE_TRY(const TextChunks text, cut_chunks(ids, options.ctx_tokens, from.model->bos_id()));
  options.resume_points = 0;  // nothing is rewound
  VARVE_TRY(options, flags.engine.fit(*from.model, options, nullptr, 1));
  VARVE_TRY(const MemoryPlan plan, Engine::fit(*from.model, options));
  VARVE_TRY(const std::string weights, flags.engine.place_weights(*from.model, plan.arena_bytes));
  VARVE_TRY(const std::unique_ptr<Engine> engine, Engine::create(from.model, options));
  Progress progress("ppl", static_cast<double>(text.n_tokens()), "tokens");
  VARVE_TRY(const Perplexity result, measure_perplexity(*engine, text, [&](size_t n) {
              progress.update(static_cast<double>(n));
            }));
  progress.finish();
  if (flags.json) {
    nlohmann::ordered_json out = {{"schema", "varve.eval.ppl/1"}};
    out.update(setting_object(from, *engine, weights));
    out.update({{"ctx_tokens", options.ctx_tokens},
                {"chunks", text.chunks.size()},
                {"left_over_tokens", text.n_left_over},
                {"scored_tokens", result.n_scored},
                {"nll", estimate_object(result.nll)},
                {"perplexity", estimate_object(result.perplexity)}});
    print_object(out);
    return {};
  }
  fmt::print("perplexity {:.4f} +- {:.4f} (nll {:.5f} +- {:.5f} nats a token)\n",
             result.perplexity.mean, result.perplexity.error, result.nll.mean, result.nll.error);
  fmt::print("{}; {} scored, of the second halves\n", describe_chunks(text), result.n_scored);
  fmt::print("{}", describe_engine(*engine));
  return {};
}

}  // namespace

void add_eval_ppl(CLI::App& eval, Action& action) {
  CLI::App* const verb = eval.add_subcommand("ppl", "Perplexity of a text, with error bars");
  const auto flags = std::make_shared<PplFlags>();
  flags->engine.add_to(*verb);
  verb->get_option("--ctx")->description(
      fmt::format("Tokens of a chunk, BOS included; default: {}", kDefaultChunk));
  flags->text.add_to(*verb);
  verb->add_flag("--json", flags->json, "Print one JSON object");
  verb->footer(
      "The text is cut into chunks, each read from an empty cache; tokens of the second\n"
      "half of each are scored. Errors are standard errors, tokens taken as independent.");
  verb->callback([flags, &action] { action = [flags] { return eval_ppl(*flags); }; });
}

}  // namespace varve::cli
