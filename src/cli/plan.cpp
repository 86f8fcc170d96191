// varve plan: what a run will take of memory and time, before anything is loaded.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/cpu.h"
#include "cli/engine_flags.h"
#include "cli/model_path.h"
#include "cli/plan_compare.h"
#include "cli/prompt.h"
#include "cli/verbs.h"
#include "plan/roofline.h"
#include "plan/trial.h"
#include "plan/ways.h"

namespace varve::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kDefaultCtx = 32 << 10;
constexpr int kMaxCtx = std::numeric_limits<int>::max();  // --ctx max
constexpr std::array kContexts = {4 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 1 << 20};

struct PlanFlags {
  EngineFlags engine;
  std::string device = "cpu";
  int sequences = 1;
  int resume_points = EngineOptions{}.resume_points;
  bool measure = false;
  bool json = false;
  bool compare = false;
  std::string svg;
};

struct Column {
  int ctx = 0;
  Footprint footprint;
  double tokens_per_s = 0;  // decoding at that depth, at most
  std::string_view bound;
};

struct Plan {
  std::string model_name;
  const Model* model = nullptr;
  EngineOptions options;
  Machine machine;
  Footprint footprint;
  int largest_ctx = 0;
  std::vector<Column> columns;
  std::vector<Way> ways;
  std::optional<Trial> trial;

  bool fits(const Footprint& some) const { return some.total_bytes() <= machine.memory_bytes; }
};

Result<Machine> machine_of(const PlanFlags& flags, const EngineOptions& options) {
  Machine machine;
  if (flags.device == "cpu") {
    ThreadPool pool(options.n_threads);
    ReadRoof read(pool);
    machine = {.name = "cpu",
               .known = Known::measured,
               .roofs = measure_roofs(pool, read),
               .memory_bytes = 0};
  } else {
    VARVE_TRY(machine, parse_device(flags.device));
  }
  VARVE_TRY(const Wall wall, Wall::parse(flags.engine.memory));
  if (wall.is_named || flags.device == "cpu") machine.memory_bytes = wall.memory_bytes;
  return machine;
}

// Tokens a second of one sequence at that depth, at most, and what binds.
Roofline decode_roofline(const Plan& plan, const EngineOptions& options, int depth) {
  return roofline(plan.model->decode_costs(options.formats, depth), options, plan.machine.roofs);
}

// ---- text

std::string bytes_text(size_t n) {
  return human_bytes(static_cast<double>(n));
}

std::string ctx_text(int tokens) {
  if (tokens % (1 << 20) == 0) return fmt::format("{}M", tokens >> 20);
  if (tokens % (1 << 10) == 0) return fmt::format("{}K", tokens >> 10);
  return fmt::format("{}", tokens);
}

std::string verdict(const Plan& plan) {
  const size_t total = plan.footprint.total_bytes(), memory = plan.machine.memory_bytes;
  if (total <= memory) return fmt::format("fits: {} are left", bytes_text(memory - total));
  const size_t beside = total - plan.footprint.memory.arena_bytes;
  if (beside > memory) {
    return fmt::format("does not fit: {} without any cache, {} more than there is",
                       bytes_text(beside), bytes_text(beside - memory));
  }
  return fmt::format("does not fit: {} too much", bytes_text(total - memory));
}

void print_parts(const Plan& plan) {
  const EngineOptions& options = plan.options;
  fmt::print("{}: {} tokens, {} sequence{}, {}\n\n", plan.model_name, options.ctx_tokens,
             options.n_sessions, options.n_sessions == 1 ? "" : "s",
             describe_formats(CacheLayout(plan.model->cache_shape(), options.formats)));
  fmt::print("{:<38}{:>18}{:>13}  {}\n", "part", "bytes", "", "known");
  for (const FootprintPart& part : plan.footprint.parts) {
    fmt::print("  {:<36}{:>18}{:>13}  {}\n", part.name, part.bytes, bytes_text(part.bytes),
               known_name(part.known));
  }
  const size_t total = plan.footprint.total_bytes();
  fmt::print("  {:<36}{:>18}{:>13}\n", "total", total, bytes_text(total));
  fmt::print("  {:<36}{:>18}{:>13}\n", "memory", plan.machine.memory_bytes,
             bytes_text(plan.machine.memory_bytes));
  fmt::print("\n{}; ", verdict(plan));
  if (plan.largest_ctx == 0) {
    fmt::print("no context fits\n");
  } else {
    fmt::print("the largest context that fits is {}\n", plan.largest_ctx);
  }
}

void print_columns(const Plan& plan) {
  const auto row = [&](std::string_view label, auto cell) {
    fmt::print("  {:<12}", label);
    for (const Column& column : plan.columns) fmt::print("{:>11}", cell(column));
    fmt::print("\n");
  };
  fmt::print("\n");
  row("context", [](const Column& c) { return ctx_text(c.ctx); });
  row("cache", [](const Column& c) { return bytes_text(c.footprint.memory.cache_bytes()); });
  row("total", [](const Column& c) { return bytes_text(c.footprint.total_bytes()); });
  row("fits", [&](const Column& c) { return plan.fits(c.footprint) ? "yes" : "no"; });
  row("tokens/s <=", [](const Column& c) { return fmt::format("{:.1f}", c.tokens_per_s); });
  row("bound by", [](const Column& c) {
    return c.bound == "read bandwidth" ? std::string("reading") : std::string(c.bound);
  });
  fmt::print("  tokens/s: decoding at that depth, at most, by {} roofs\n",
             known_name(plan.machine.known));
}

// "-" where nothing is quantised beyond the model's own formats.
std::string kld_text(const Plan& plan, const Way& way) {
  if (way.quality) return fmt::format("{:.1e}", way.quality->mean_kld);
  const CacheLayout layout(plan.model->cache_shape(), way.options.formats);
  const bool quantized = std::any_of(pools().begin(), pools().end(), [&](const PoolInfo& info) {
    return layout.has(info.pool) && is_quantized(layout.formats.of(info.pool));
  });
  return quantized ? "unknown" : "-";
}

void print_ways(const Plan& plan) {
  fmt::print("\n{:<26}{:>12}{:>6}{:>10}{:>13}{:>12}\n", "ways to fit", "total", "fits", "largest",
             "tokens/s <=", "mean KLD");
  for (const Way& way : plan.ways) {
    const Roofline roof = decode_roofline(plan, way.options, plan.options.ctx_tokens - 1);
    fmt::print("  {:<24}{:>12}{:>6}{:>10}{:>13.1f}{:>12}\n",
               way.flags.empty() ? "as asked" : way.flags, bytes_text(way.footprint.total_bytes()),
               plan.fits(way.footprint) ? "yes" : "no", way.largest_ctx, 1 / roof.seconds,
               kld_text(plan, way));
  }
  fmt::print("  mean KLD: against an unquantised cache, measured on SmolLM2-135M\n");
}

void print_trial(const Trial& trial) {
  fmt::print("\nset up and filled to the last token, without pages of files:\n");
  fmt::print("  {:<36}{:>18}{:>13}\n", "planned", trial.planned_bytes,
             bytes_text(trial.planned_bytes));
  fmt::print("  {:<36}{:>18}{:>13}  {:+.2f} %\n", "measured", trial.measured_bytes,
             bytes_text(trial.measured_bytes), 100 * trial.excess());
}

// ---- JSON

Json footprint_object(const Footprint& footprint) {
  Json parts = Json::array();
  for (const FootprintPart& part : footprint.parts) {
    parts.push_back(
        {{"part", part.name}, {"bytes", part.bytes}, {"known", known_name(part.known)}});
  }
  return {{"parts", parts},
          {"cache_bytes", footprint.memory.cache_bytes()},
          {"arena_bytes", footprint.memory.arena_bytes},
          {"weight_bytes", footprint.memory.weight_bytes},
          {"total_bytes", footprint.total_bytes()}};
}

void print_json(const Plan& plan) {
  Json contexts = Json::array(), ways = Json::array();
  for (const Column& column : plan.columns) {
    contexts.push_back({{"ctx_tokens", column.ctx},
                        {"cache_bytes", column.footprint.memory.cache_bytes()},
                        {"total_bytes", column.footprint.total_bytes()},
                        {"fits", plan.fits(column.footprint)},
                        {"decode_tokens_per_s_at_most", column.tokens_per_s},
                        {"bound_by", column.bound}});
  }
  for (const Way& way : plan.ways) {
    const Roofline roof = decode_roofline(plan, way.options, plan.options.ctx_tokens - 1);
    Json object = {{"flags", way.flags},
                   {"total_bytes", way.footprint.total_bytes()},
                   {"fits", plan.fits(way.footprint)},
                   {"largest_ctx_tokens", way.largest_ctx},
                   {"decode_tokens_per_s_at_most", 1 / roof.seconds}};
    object["mean_kld_of_smollm2"] = way.quality ? Json(way.quality->mean_kld) : Json();
    ways.push_back(std::move(object));
  }
  const Machine& machine = plan.machine;
  const CacheLayout layout(plan.model->cache_shape(), plan.options.formats);
  Json out = {
      {"schema", "varve.plan/1"},
      {"model", plan.model_name},
      {"family", plan.model->family()},
      {"ctx_tokens", plan.options.ctx_tokens},
      {"sequences", plan.options.n_sessions},
      {"chunk_tokens", plan.footprint.memory.chunk_tokens},
      {"row_formats", formats_object(layout)},
      {"bytes_per_token", layout.bytes_per_token()},
      {"footprint", footprint_object(plan.footprint)},
      {"memory_bytes", machine.memory_bytes},
      {"fits", plan.fits(plan.footprint)},
      {"largest_ctx_tokens", plan.largest_ctx},
      {"machine",
       {{"name", machine.name},
        {"known", known_name(machine.known)},
        {"read_bytes_per_s", machine.roofs.read_bytes_per_s},
        {"f32_macs_per_s", machine.roofs.f32_macs_per_s},
        {"bf16_macs_per_s", machine.roofs.bf16_macs_per_s},
        {"int8_macs_per_s", machine.roofs.int8_macs_per_s}}},
      {"contexts", contexts},
      {"ways", ways},
  };
  if (plan.trial) {
    out["trial"] = {{"planned_private_bytes", plan.trial->planned_bytes},
                    {"measured_private_bytes", plan.trial->measured_bytes}};
  }
  fmt::print("{}\n", out.dump(2));
}

// ---- the verb

Result<std::unique_ptr<Model>> load(const std::string& path, bool with_weights) {
  auto model = with_weights ? load_model(path) : load_shapes(path);
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

Result<Trial> measured(const PlanFlags& flags, const std::shared_ptr<const Model>& model,
                       const EngineOptions& options, const ProcessBytes& process) {
  VARVE_TRY(const Wall wall, Wall::parse(flags.engine.memory));
  VARVE_TRY(const EngineOptions fitting, fit_within(*model, options, process, wall, 1));
  return try_out(model, fitting, process);
}

Result<void> plan(const PlanFlags& flags) {
  VARVE_TRY(EngineOptions options, flags.engine.options());
  VARVE_TRY(const std::string given, model_or_bundled(flags.engine.model));
  const std::string path = model_or_published(given);
  VARVE_TRY(const std::shared_ptr<const Model> model, load(path, flags.measure));
  VARVE_CHECKED(flags.engine.check_pools(*model));
  if (flags.compare) {
    return compare_attention(*model, model_name(path), options.formats,
                             {.json = flags.json, .svg = flags.svg});
  }
  if (flags.sequences < 1 || flags.sequences > kMaxLogitRows) {
    return usage_error("--sequences {}: expected 1 to {}", flags.sequences, kMaxLogitRows);
  }
  options.n_sessions = flags.sequences;
  options.resume_points = flags.resume_points;
  if (options.n_threads == 0) options.n_threads = usable_cores();
  if (flags.engine.ctx == 0) options.ctx_tokens = std::min(kDefaultCtx, model->max_position());
  if (flags.engine.ctx == kMaxCtx) options.ctx_tokens = model->max_position();
  if (options.kernels == nullptr) {
    VARVE_TRY(options.kernels, select_kernels(""));
  }

  Plan out{.model_name = model_name(path),
           .model = model.get(),
           .options = options,
           .machine = {},
           .footprint = {},
           .largest_ctx = 0,
           .columns = {},
           .ways = {},
           .trial = {}};
  VARVE_TRY(out.machine, machine_of(flags, options));
  const size_t memory = out.machine.memory_bytes;
  const std::optional<Tokenizer> tokenizer = tokenizer_of(path, *model);
  const ProcessBytes process =
      process_bytes(*model, tokenizer ? &*tokenizer : nullptr, options.n_threads);
  VARVE_TRY(out.footprint, footprint(*model, options, process, memory));
  out.largest_ctx = largest_context_within(*model, options, process, memory);
  for (const int ctx : kContexts) {
    if (ctx > model->max_position()) break;
    EngineOptions at = options;
    at.ctx_tokens = ctx;
    VARVE_TRY(Footprint taken, footprint(*model, at, process, memory));
    const Roofline roof = decode_roofline(out, at, ctx - 1);
    out.columns.push_back({ctx, std::move(taken), 1 / roof.seconds, roof.bound()});
  }
  VARVE_TRY(out.ways, ways_to_fit(*model, options, process, memory));
  if (flags.measure) {
    VARVE_TRY(out.trial, measured(flags, model, options, process));
  }
  if (flags.json) {
    print_json(out);
    return {};
  }
  print_parts(out);
  print_columns(out);
  print_ways(out);
  if (out.trial) print_trial(*out.trial);
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
                   "Whose roofs bound the speed: 'cpu': this one's, measured, or\n"
                   "gpu:BYTES/S,FLOPS,MEMORY, as assumed, e.g. gpu:1008G,165T,24G")
      ->capture_default_str();
  verb->add_flag("--measure", flags->measure,
                 "Also set the run up, fill its caches to the last token and say what\n"
                 "it then holds");
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
