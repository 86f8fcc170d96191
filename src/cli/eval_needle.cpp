// varve eval needle: facts hidden in filler, by length of the document and depth.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <memory>

#include "cli/eval_setup.h"
#include "cli/eval_verbs.h"
#include "cli/model_path.h"
#include "cli/needle_flags.h"
#include "cli/needle_map.h"
#include "cli/output_file.h"
#include "cli/progress.h"
#include "eval/needle.h"

namespace varve::cli {
namespace {

struct EvalNeedleFlags {
  EngineFlags engine;
  NeedleFlags needle;
  std::string svg;
  bool json = false;
};

nlohmann::ordered_json answers_array(const NeedleMap& map,
                                     std::span<const NeedleDocument> documents) {
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (size_t i = 0; i < map.answers.size(); ++i) {
    const NeedleAnswer& one = map.answers[i];
    const NeedleDocument& document = documents[i];
    nlohmann::ordered_json tokens = nlohmann::ordered_json::array();
    for (const AnswerToken& token : one.tokens) {
      tokens.push_back({{"rank", token.rank}, {"probability", token.probability}});
    }
    out.push_back({{"length", one.length},
                   {"depth_percent", one.depth_percent},
                   {"seed", document.seed},
                   {"document_tokens", document.ids.size()},
                   {"name", document.name},
                   {"code", document.code},
                   {"right", one.is_right()},
                   {"probability", one.probability()},
                   {"tokens", tokens}});
  }
  return out;
}

nlohmann::ordered_json cells_array(std::span<const NeedleCell> cells) {
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const NeedleCell& cell : cells) {
    out.push_back({{"length", cell.length},
                   {"depth_percent", cell.depth_percent},
                   {"answers", cell.n},
                   {"right", estimate_object(cell.right)},
                   {"probability", estimate_object(cell.probability)}});
  }
  return out;
}

Result<void> eval_needle(const EvalNeedleFlags& flags) {
  VARVE_TRY(EngineOptions options, flags.engine.options());
  VARVE_CHECKED(check_writable("--svg", flags.svg));
  VARVE_TRY(const EvalModel from, open_model(flags.engine));
  VARVE_TRY(const NeedleSet set, flags.needle.load(from));
  options.ctx_tokens = std::max(options.ctx_tokens, *std::max_element(set.options.lengths.begin(),
                                                                      set.options.lengths.end()));
  // The one resume point is the document's end.
  options.resume_points = 1;
  options.resume_interval_tokens = std::numeric_limits<int>::max();
  VARVE_TRY(options, flags.engine.fit(*from.model, options, nullptr, options.ctx_tokens));
  VARVE_TRY(const MemoryPlan plan, Engine::fit(*from.model, options));
  VARVE_TRY(const std::string weights, flags.engine.place_weights(*from.model, plan.arena_bytes));
  VARVE_TRY(const std::unique_ptr<Engine> engine, Engine::create(from.model, options));
  Progress progress("needle", static_cast<double>(set.documents.size()), "documents");
  VARVE_TRY(const NeedleMap map, find_needles(*engine, set.documents, [&](size_t n) {
              progress.update(static_cast<double>(n));
            }));
  progress.finish();
  const std::vector<NeedleCell> cells = map.cells(set.options);
  if (flags.json) {
    nlohmann::ordered_json out = {{"schema", "varve.eval.needle/1"}};
    out.update(setting_object(from, *engine, weights));
    out.update({{"lengths", set.options.lengths},
                {"depths_percent", set.options.depths_percent},
                {"documents", set.options.n_documents},
                {"right", estimate_object(map.right())},
                {"probability", estimate_object(map.probability())},
                {"cells", cells_array(cells)},
                {"answers", answers_array(map, set.documents)}});
    print_object(out);
  } else {
    fmt::print("{}", needle_table(cells, set.options, isatty(STDOUT_FILENO) == 1));
    fmt::print("{} answers: {:.1f} % right +- {:.1f} %, mean probability {:.3f} +- {:.3f}\n",
               map.answers.size(), 100 * map.right().mean, 100 * map.right().error,
               map.probability().mean, map.probability().error);
    fmt::print("{}", describe_engine(*engine));
  }
  if (flags.svg.empty()) return {};
  const std::string title = fmt::format("{}: facts found again, {}", model_name(from.path),
                                        describe_formats(engine->cache().layout()));
  return write_output("--svg", flags.svg, needle_svg(cells, set.options, title));
}

}  // namespace

void add_eval_needle(CLI::App& eval, Action& action) {
  CLI::App* const verb =
      eval.add_subcommand("needle", "Facts hidden in filler: found again, by depth and length?");
  const auto flags = std::make_shared<EvalNeedleFlags>();
  flags->engine.add_to(*verb);
  flags->needle.add_to(*verb);
  verb->add_option("--svg", flags->svg, "Write the map to an SVG file");
  verb->add_flag("--json", flags->json, "Print one JSON object");
  verb->footer(
      "Each document holds one fact (\"The code of the amber falcon is 47.\") and asks for it\n"
      "at its end. An answer is right where each of its tokens is the argmax, the ones\n"
      "before it given.");
  verb->callback([flags, &action] { action = [flags] { return eval_needle(*flags); }; });
}

}  // namespace varve::cli
