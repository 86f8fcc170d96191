// varve plan: what a run will take of memory and time, before anything is loaded.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <optional>

#include "base/cpu.h"
#include "base/memory.h"
#include "cli/engine_flags.h"
#include "cli/model_path.h"
#include "cli/plan_compare.h"
#include "cli/plan_report.h"
#include "cli/prompt.h"
#include "cli/verbs.h"
#include "plan/wall.h"

namespace varve::cli {
namespace {

constexpr int kDefaultCtx = 32 << 10;
constexpr int kMaxCtx = std::numeric_limits<int>::max();  // --ctx max
constexpr std::array kContexts = {4 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 1 << 20};

struct PlanFlags {
  EngineFlags engine;
  std::string device = "cpu";
  int sequences = 1;
  int resume_points = EngineOptions{}.resume_points;
  bool measure = false;
  bool remeasure = false;
  bool json = false;
  bool compare = false;
  std::string svg;
};

// Roofs are filled in where speeds are planned.
Result<Machine> machine_of(const PlanFlags& flags) {
  Machine machine{.name = "cpu", .known = Known::measured, .roofs = {}, .memory_bytes = 0};
  if (flags.device != "cpu") {
    VARVE_TRY(machine, parse_device(flags.device));
  }
  VARVE_TRY(const Wall wall, Wall::parse(flags.engine.memory));
  if (wall.is_named || flags.device == "cpu") machine.memory_bytes = wall.memory_bytes;
  return machine;
}

// Of a machine that cannot be calibrated (there is not the memory) roofs are said, and why.
SpeedPlanner planner_of(const PlanFlags& flags, const std::shared_ptr<const Model>& shapes,
                        const EngineOptions& options, Plan& plan) {
  if (flags.device != "cpu") {
    plan.speed_source = "at most, by assumed roofs";
    return SpeedPlanner::of_roofs(shapes, plan.machine.roofs);
  }
  auto planner = SpeedPlanner::of_this_machine(shapes, options, flags.remeasure);
  if (planner) return std::move(*planner);
  plan.speed_source =
      fmt::format("at most, by measured roofs; not predicted: {}", planner.error().message);
  ThreadPool pool(options.n_threads);
  ReadRoof read(pool);  // says nothing of reading where there is not the memory
  return SpeedPlanner::of_roofs(shapes, measure_roofs(pool, read));
}

Result<std::unique_ptr<Model>> load(const std::string& path) {
  auto model = load_shapes(path);
  if (!model && model.error().message.starts_with("no model at")) {
    return usage_error("{}; configs that come with varve: {}", model.error().message,
                       fmt::join(published_models(), ", "));
  }
  return model;
}

// Nothing where the model has none, or one that is not the model's.
std::optional<Tokenizer> tokenizer_of(const std::string& path, const Model& model) {
  auto tokenizer = load_tokenizer(path, model);
  if (!tokenizer) return std::nullopt;
  return std::move(*tokenizer);
}

Result<Trial> measured(const PlanFlags& flags, const std::string& path,
                       const EngineOptions& options) {
  VARVE_TRY(const std::shared_ptr<const Model> model, load_model(path));
  const std::optional<Tokenizer> tokenizer = tokenizer_of(path, *model);
  ProcessBytes process =
      process_bytes(*model, tokenizer ? &*tokenizer : nullptr, options.n_threads);
  VARVE_TRY(const Wall wall, Wall::parse(flags.engine.memory));
  VARVE_TRY(const EngineOptions fitting, fit_within(*model, options, process, wall, 1));
  if (process.tokenizer_known != Known::exact) process.tokenizer = 0;  // there is none
  release_free_memory();
  return try_out(model, fitting, process);
}

Result<EngineOptions> options_of(const PlanFlags& flags, const Model& model,
                                 EngineOptions options) {
  if (flags.sequences < 1 || flags.sequences > kMaxLogitRows) {
    return usage_error("--sequences {}: expected 1 to {}", flags.sequences, kMaxLogitRows);
  }
  options.n_sessions = flags.sequences;
  options.resume_points = flags.resume_points;
  if (options.n_threads == 0) options.n_threads = usable_cores();
  if (flags.engine.ctx == 0) options.ctx_tokens = std::min(kDefaultCtx, model.max_position());
  if (flags.engine.ctx == kMaxCtx) options.ctx_tokens = model.max_position();
  if (options.kernels == nullptr) {
    VARVE_TRY(options.kernels, select_kernels(""));
  }
  return options;
}

// The memory of a run as asked, of others at usual contexts, and of the ways to fit.
Result<void> plan_memory(Plan& plan, const ProcessBytes& process) {
  const Model& model = *plan.model;
  const size_t memory = plan.machine.memory_bytes;
  VARVE_TRY(plan.footprint, footprint(model, plan.options, process, memory));
  plan.largest_ctx = largest_context_within(model, plan.options, process, memory);
  std::vector<int> contexts(kContexts.begin(), kContexts.end());
  std::erase_if(contexts, [&](int ctx) { return ctx >= model.max_position(); });
  if (model.max_position() <= kContexts.back()) contexts.push_back(model.max_position());
  for (const int ctx : contexts) {
    EngineOptions at = plan.options;
    at.ctx_tokens = ctx;
    VARVE_TRY(Footprint taken, footprint(model, at, process, memory));
    plan.columns.push_back({ctx, std::move(taken), {}});
  }
  VARVE_TRY(plan.ways, ways_to_fit(model, plan.options, process, memory));
  return {};
}

// Its speed, likewise.
void plan_speed(Plan& plan, const PlanFlags& flags, const std::shared_ptr<const Model>& shapes) {
  const auto planned = [](EngineOptions options, const Footprint& footprint) {
    options.chunk_tokens = footprint.memory.chunk_tokens;
    return options;
  };
  const EngineOptions asked = planned(plan.options, plan.footprint);
  SpeedPlanner planner = planner_of(flags, shapes, asked, plan);
  plan.machine.roofs = planner.roofs();
  const int last = plan.options.ctx_tokens - 1;
  plan.speed = planner.at(asked, last);
  for (PlanColumn& column : plan.columns) column.speed = planner.at(asked, column.ctx - 1);
  for (const Way& way : plan.ways) {
    plan.way_speeds.push_back(planner.at(planned(way.options, way.footprint), last));
  }
  if (plan.speed_source.empty()) {
    plan.speed_source = fmt::format("predicted; this machine was measured {}", planner.age());
  }
}

Result<void> plan(const PlanFlags& flags) {
  VARVE_TRY(EngineOptions options, flags.engine.options());
  VARVE_TRY(const std::string given, model_or_bundled(flags.engine.model));
  const std::string path = model_or_published(given);
  VARVE_TRY(std::shared_ptr<const Model> shapes, load(path));
  VARVE_CHECKED(flags.engine.check_pools(*shapes));
  if (flags.compare) {
    return compare_attention(*shapes, model_name(path), options.formats,
                             {.json = flags.json, .svg = flags.svg});
  }
  Plan out;
  out.model_name = model_name(path);
  VARVE_TRY(out.options, options_of(flags, *shapes, options));
  if (flags.measure) {
    shapes.reset();  // a run holds its model once
    VARVE_TRY(out.trial, measured(flags, path, out.options));
    VARVE_TRY(shapes, load(path));
  }
  out.model = shapes.get();
  VARVE_TRY(out.machine, machine_of(flags));
  const std::optional<Tokenizer> tokenizer = tokenizer_of(path, *shapes);
  VARVE_CHECKED(plan_memory(
      out, process_bytes(*shapes, tokenizer ? &*tokenizer : nullptr, out.options.n_threads)));
  plan_speed(out, flags, shapes);
  if (flags.json) {
    print_plan_json(out);
  } else {
    print_plan(out);
  }
  return {};
}

}  // namespace

void add_plan(CLI::App& app, Action& action) {
  CLI::App* const verb =
      app.add_subcommand("plan", "Say what a run will take, before anything is loaded");
  const auto flags = std::make_shared<PlanFlags>();
  flags->engine.add_to(*verb);
  verb->get_option("--ctx")
      ->description("Tokens of context; 'max': the model's own; default 32768, or that")
      ->transform([](std::string text) { return text == "max" ? std::to_string(kMaxCtx) : text; });
  verb->remove_option(verb->get_option("--kv-memory"));
  verb->remove_option(verb->get_option("--weights"));
  verb->add_option("--sequences", flags->sequences, "Sequences of that context")
      ->capture_default_str();
  verb->add_option("--resume-points", flags->resume_points,
                   "Places of a sequence that can be gone back to at no cost ('run'\nkeeps none)")
      ->capture_default_str();
  verb->add_option("--device", flags->device,
                   "Whose speed: 'cpu': this machine's, predicted from a calibration, or\n"
                   "at most, by the roofs of\n"
                   "gpu:BYTES/S,FLOPS,MEMORY, as assumed, e.g. gpu:1008G,165T,24G")
      ->capture_default_str();
  verb->add_flag("--measure", flags->measure,
                 "Also set the run up, fill its caches to the last token and say what\n"
                 "it then holds");
  verb->add_flag("--remeasure", flags->remeasure,
                 "Calibrate this machine anew, which is kept in the user's cache\n"
                 "($XDG_CACHE_HOME/varve) otherwise");
  verb->add_flag("--json", flags->json, "Print one JSON object");
  CLI::Option* const compare =
      verb->add_flag("--compare", flags->compare,
                     "Instead: cache and FLOPs of a token at 4K to 1M beside those with\n"
                     "MHA, GQA-8, MLA, V3.2's and V4's attention in its place");
  verb->add_option("--svg", flags->svg, "Draw what --compare prints into this file")
      ->needs(compare);
  verb->footer(
      "MODEL may be a directory or GGUF file of which only the headers are there (files\n"
      "cut off behind them), or config.json and the index, or a config.json alone, or the\n"
      "name of a published model whose config comes with varve (models/configs).\n"
      "Example: what fits into 8 GiB?\n"
      "  varve plan qwen3-8b --memory 8G --ctx 32768 --kv k=q8_0,v=q4_0");
  verb->callback([flags, &action] { action = [flags] { return plan(*flags); }; });
}

}  // namespace varve::cli
