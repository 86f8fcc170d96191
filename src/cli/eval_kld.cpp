// varve eval kld: a cache of other row formats against the reference cache of the same weights.
#include <fmt/format.h>

#include <memory>

#include "cli/eval_setup.h"
#include "cli/eval_verbs.h"
#include "cli/progress.h"
#include "eval/comparison.h"

namespace varve::cli {
namespace {

struct KldFlags {
  EngineFlags engine;
  TextFlags text;
  std::string base_kv = "f32";
  bool json = false;
};

void print_table(const DivergenceSummary& d) {
  const auto line = [](std::string_view label, std::string_view what, double value) {
    fmt::print("{:<14} {:>8} {:>12.4e}", label, what, value);
  };
  line("KLD, nats", "mean", d.kld.mean);
  fmt::print(" +- {:.1e}\n", d.kld.error);
  const std::pair<std::string_view, double> quantiles[] = {
      {"median", d.median}, {"90 %", d.p90},    {"95 %", d.p95},
      {"99 %", d.p99},      {"99.9 %", d.p999}, {"largest", d.max}};
  for (const auto& [what, value] : quantiles) {
    line("", what, value);
    fmt::print("\n");
  }
  const auto percent = [](std::string_view label, std::string_view what, const Estimate& share) {
    fmt::print("{:<14} {:>8} {:>10.3f} % +- {:.3f} %\n", label, what, 100 * share.mean,
               100 * share.error);
  };
  percent("same top-1", "", d.same_top);
  percent("top-5 overlap", "", d.top5_overlap);
  percent("delta-p", "mean", d.delta_p);
  fmt::print("{:<14} {:>8} {:>10.3f} %\n", "", "rms", 100 * d.delta_p_rms);
}

Result<void> eval_kld(const KldFlags& flags) {
  VARVE_TRY(EngineOptions reference, flags.engine.options());
  if (flags.base_kv != "f32" && flags.base_kv != "bf16") {
    return usage_error("--base-kv {}: expected 'f32' or 'bf16'", flags.base_kv);
  }
  VARVE_TRY(const EvalModel from, open_model(flags.engine));
  const Model& model = *from.model;
  VARVE_TRY(const std::vector<int32_t> ids, flags.text.read(from.path, model));
  const PoolFormats under_test = reference.formats;
  reference.formats = PoolFormats::all(*row_format_from_name(flags.base_kv));
  if (reference.ctx_tokens == 0) {
    reference.ctx_tokens = even_chunk_tokens(ids, model.max_position(), model.bos_id());
  }
  VARVE_TRY(const TextChunks text, cut_chunks(ids, reference.ctx_tokens, model.bos_id()));
  reference.resume_points = 0;  // nothing is rewound
  VARVE_TRY(reference, flags.engine.bounded(model, reference));
  VARVE_TRY(const ComparisonPlan plan, plan_comparison(model, reference, {&under_test, 1}));
  VARVE_TRY(const std::string weights, flags.engine.place_weights(*from.model, plan.arena_bytes));
  VARVE_TRY(const std::unique_ptr<Engine> base, Engine::create(from.model, plan.options[0]));
  std::vector<std::unique_ptr<Engine>> tests(1);
  VARVE_TRY(tests[0], Engine::create(from.model, plan.options[1]));
  Progress progress("kld", 2.0 * static_cast<double>(text.n_tokens()), "tokens");
  VARVE_TRY(const std::vector<DivergenceSummary> result,
            compare_caches(*base, tests, text,
                           [&](size_t n) { progress.update(static_cast<double>(n)); }));
  progress.finish();
  const CacheLayout& layout = tests.front()->cache().layout();
  if (flags.json) {
    nlohmann::ordered_json out = {{"schema", "varve.eval.kld/1"}};
    out.update(setting_object(from, *tests.front(), weights));
    out.update({{"base_formats", formats_object(base->cache().layout())},
                {"ctx_tokens", reference.ctx_tokens},
                {"chunks", text.chunks.size()},
                {"left_over_tokens", text.n_left_over},
                {"cache_bytes_per_token", layout.bytes_per_token()}});
    out.update(divergence_object(result.front()));
    print_object(out);
    return {};
  }
  print_table(result.front());
  fmt::print("\nunder test: {}reference: {}", describe_engine(*tests.front()),
             describe_engine(*base));
  fmt::print("{}; {} positions compared\n", describe_chunks(text), result.front().n);
  return {};
}

}  // namespace

void add_eval_kld(CLI::App& eval, Action& action) {
  CLI::App* const verb =
      eval.add_subcommand("kld", "What a cache's row formats cost: divergence from a plain cache");
  const auto flags = std::make_shared<KldFlags>();
  flags->engine.add_to(*verb);
  verb->get_option("--ctx")->description(
      "Tokens of a chunk, BOS included; default: the whole text, or equal\n"
      "parts that the model's context holds");
  flags->text.add_to(*verb);
  verb->add_option("--base-kv", flags->base_kv,
                   "Row format of the reference cache: 'f32' or 'bf16'")
      ->capture_default_str();
  verb->add_flag("--json", flags->json, "Print one JSON object");
  verb->footer(
      "Both caches read the text in step, over the same weights, with the same products\n"
      "and kernels; every position that has a next token is compared. delta-p is the\n"
      "change of the probability of that token. Errors are standard errors. --kv-memory is\n"
      "of both caches together.\n"
      "Example: varve eval kld MODEL -f TEXT --kv k=q8_0,v=q4_0");
  verb->callback([flags, &action] { action = [flags] { return eval_kld(*flags); }; });
}

}  // namespace varve::cli
