// varve tune: looks for the settings that do a job fastest within a memory, by measuring them.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <memory>

#include "base/cpu.h"
#include "cli/engine_flags.h"
#include "cli/model_path.h"
#include "cli/output_file.h"
#include "cli/progress.h"
#include "cli/prompt.h"
#include "cli/tune_report.h"
#include "cli/verbs.h"
#include "tune/meter.h"

namespace varve::cli {
namespace {

constexpr int kDefaultCtx = 4096;
constexpr int kMostChunk = 2048;

struct TuneFlags {
  EngineFlags engine;
  int sequences = 1;
  double budget_seconds = 60;
  std::string quality = "5e-4";
  Job job{.prefill_tokens = 512, .decode_tokens = 128};
  std::string out = "varve-profile.toml";
  bool json = false;
  std::vector<ProfileEntry> given;  // engine flags of the command line or of its profile

  bool is_given(std::string_view key) const {
    return std::any_of(given.begin(), given.end(),
                       [&](const ProfileEntry& entry) { return entry.key == key; });
  }
};

// Set by Ctrl-C: the search ends after the visit under way, with the best so far.
volatile std::sig_atomic_t interrupted = 0;

// Nothing: any divergence will do, also an unknown one.
Result<std::optional<double>> parse_quality(const std::string& text) {
  if (text == "any") return std::optional<double>();
  double kld = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), kld);
  if (error != std::errc() || rest != text.data() + text.size() || !(kld >= 0)) {
    return usage_error("--quality {}: expected a mean KLD in nats, e.g. 5e-4, or 'any'", text);
  }
  return std::optional(kld);
}

Result<void> check(const TuneFlags& flags) {
  if (!(flags.budget_seconds > 0)) {
    return usage_error("--budget {}: expected more than 0 seconds", flags.budget_seconds);
  }
  if (flags.sequences < 1 || flags.sequences > kMaxLogitRows) {
    return usage_error("--sequences {}: expected 1 to {}", flags.sequences, kMaxLogitRows);
  }
  if (flags.job.prefill_tokens < 1 || flags.job.decode_tokens < 1) {
    return usage_error("--prefill {} --decode {}: expected 1 token or more of each",
                       flags.job.prefill_tokens, flags.job.decode_tokens);
  }
  return check_writable("--out", flags.out);
}

// What the flags and the model ask for, before anything is fitted.
Result<EngineOptions> wanted_options(const TuneFlags& flags, const Model& model) {
  VARVE_TRY(EngineOptions options, flags.engine.options());
  if (options.ctx_tokens == 0) options.ctx_tokens = std::min(kDefaultCtx, model.max_position());
  if (options.ctx_tokens < 2) return usage_error("--ctx 1: expected 2 tokens or more");
  if (options.n_threads == 0) options.n_threads = usable_cores();
  options.n_sessions = flags.sequences;
  return options;
}

int level_of(const std::vector<int>& levels, int value) {
  return static_cast<int>(std::find(levels.begin(), levels.end(), value) - levels.begin());
}

// The knobs that the command line leaves open, around the first of the formats that fits.
Result<void> open_space(const TuneFlags& flags, const Model& shapes, const ProcessBytes& process,
                        TuneReport& report) {
  VARVE_TRY(const std::optional<double> most_kld, parse_quality(flags.quality));
  FormatChoice formats = format_levels(shapes, report.base.formats, most_kld);
  if (flags.is_given("kv")) formats.levels.resize(1);
  Space& space = report.space;
  space.formats = std::move(formats.levels);
  report.refused_formats = std::move(formats.refused);
  std::optional<Error> first_refusal;
  for (size_t i = 0; i < space.formats.size(); ++i) {
    EngineOptions options = report.base;
    options.formats = space.formats[i].formats;
    const auto fitting = fit_within(shapes, options, process, report.wall, 1);
    if (!fitting) {
      if (!first_refusal) first_refusal = fitting.error();
      continue;
    }
    const int chunk = fitting->chunk_tokens;
    space.start[Knob::formats] = static_cast<int>(i);
    space.threads = flags.is_given("threads")
                        ? std::vector{options.n_threads}
                        : thread_levels(usable_physical_cores(), usable_cores());
    space.chunks = flags.is_given("chunk")
                       ? std::vector{chunk}
                       : chunk_levels(chunk, std::min(kMostChunk, report.job.prefill_tokens));
    space.start[Knob::threads] = level_of(space.threads, options.n_threads);
    space.start[Knob::chunk] = level_of(space.chunks, chunk);
    report.base.arena_budget_bytes = fitting->arena_budget_bytes;
    if (first_refusal) report.defaults_refused = first_refusal->message;
    return {};
  }
  return tl::unexpected<Error>(std::move(*first_refusal));
}

EngineOptions options_of(const TuneReport& report, const Candidate& candidate) {
  return report.space.options(candidate.setting, report.base);
}

// What bound the start and the best; engines are gone by now. The room that roofs are measured in
// is within the wall, or nothing is said.
void measure_bounds(const ProcessBytes& process, TuneReport& report) {
  const Model& model = *report.model;
  if (model.weight_bytes() + model.vector_bytes() + process.total() + ReadRoof::kBytes >
      report.wall.memory_bytes) {
    return;
  }
  const auto bounds = [&](const Candidate& candidate) {
    const EngineOptions options = options_of(report, candidate);
    ThreadPool pool(options.n_threads);
    ReadRoof read(pool);
    return bounds_of(candidate, model, options, measure_roofs(pool, read), report.job,
                     report.depth);
  };
  report.start_bounds = bounds(report.outcome.start);
  report.best_bounds = report.outcome.is_win() ? bounds(report.outcome.best) : report.start_bounds;
}

Result<void> run_search(const TuneFlags& flags, const std::shared_ptr<const Model>& model,
                        const Tokenizer* tokenizer, TuneReport& report) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  const auto now = [&] { return std::chrono::duration<double>(Clock::now() - begin).count(); };
  const MeterConditions conditions{.base = report.base,
                                   .job = report.job,
                                   .wall = report.wall,
                                   .tokenizer = tokenizer,
                                   .weights_are_copied = report.weights == "copied"};
  Meter meter(model, report.space, conditions);
  Progress progress("tune", flags.budget_seconds, "s");
  const SearchTools tools{
      .measure = [&](const Setting& setting, int effort) { return meter.measure(setting, effort); },
      .fits = [&](const Setting& setting) { return meter.fits(setting); },
      .now = now,
      .interrupted = [] { return interrupted != 0; },
      .progress = [&](double seconds) { progress.update(seconds); }};
  std::signal(SIGINT, [](int) { interrupted = 1; });
  VARVE_TRY(report.outcome, search(report.space, report.job, flags.budget_seconds, tools));
  report.seconds = now();
  VARVE_TRY(report.start_planned_bytes, meter.planned_bytes(report.outcome.start.setting));
  VARVE_TRY(report.best_planned_bytes, meter.planned_bytes(report.outcome.best.setting));
  return {};
}

Result<void> tune(const TuneFlags& flags) {
  VARVE_CHECKED(check(flags));
  VARVE_TRY(const std::string path, model_or_bundled(flags.engine.model));
  VARVE_TRY(std::shared_ptr<const Model> shapes, flags.engine.open_shapes(path));
  TuneReport report;
  report.model_name = model_name(path);
  VARVE_TRY(report.base, wanted_options(flags, *shapes));
  VARVE_TRY(report.wall, Wall::parse(flags.engine.memory));
  const int ctx = report.base.ctx_tokens;
  report.job = {std::min(flags.job.prefill_tokens, std::max(1, ctx / 2)),
                std::min(flags.job.decode_tokens, std::max(1, ctx / 4))};
  report.depth = depth_before(report.job, ctx);
  report.budget_seconds = flags.budget_seconds;
  report.given = flags.given;
  report.profile = flags.out;
  // Without one, as much as others have is taken to be needed.
  const auto tokenizer = load_tokenizer(path, *shapes);
  const Tokenizer* const text = tokenizer ? &*tokenizer : nullptr;
  const ProcessBytes process = process_bytes(*shapes, text, report.base.n_threads);
  VARVE_CHECKED(open_space(flags, *shapes, process, report));
  VARVE_TRY(const std::shared_ptr<Model> model, load_in_place_of(std::move(shapes), path));
  report.model = model.get();
  const EngineOptions start = report.space.options(report.space.start, report.base);
  VARVE_TRY(const MemoryPlan plan, Engine::plan(*model, start));
  VARVE_TRY(report.weights, flags.engine.place_weights(*model, plan.arena_bytes));

  VARVE_CHECKED(run_search(flags, model, text, report));
  measure_bounds(process, report);
  VARVE_CHECKED(write_output("--out", flags.out, tune_profile(report)));
  if (flags.json) {
    print_tune_json(report);
  } else {
    print_tune_table(report);
  }
  return {};
}

// Of the engine's flags, those that were given, as they were written.
std::vector<ProfileEntry> given_flags(const CLI::App& verb, const EngineFlags& engine) {
  std::vector<ProfileEntry> given;
  for (const std::string& key : engine.profile_keys) {
    const CLI::Option* const option = verb.get_option_no_throw("--" + key);
    if (option == nullptr || option->count() == 0) continue;
    const std::string& value = option->results().back();
    given.push_back({key, value, value.find_first_not_of("0123456789") == std::string::npos});
  }
  return given;
}

}  // namespace

void add_tune(CLI::App& app, Action& action) {
  CLI::App* const verb = app.add_subcommand("tune", "Find the fastest settings by measuring");
  const auto flags = std::make_shared<TuneFlags>();
  flags->engine.add_to(*verb);
  verb->get_option("--ctx")->description(
      fmt::format("Tokens of context to make room for; default: {}", kDefaultCtx));
  verb->add_option("--sequences", flags->sequences, "Sequences that run at once")
      ->capture_default_str();
  verb->add_option("--budget", flags->budget_seconds, "Seconds to measure, at most")
      ->capture_default_str();
  verb->add_option("--quality", flags->quality,
                   "Mean KLD in nats that smaller row formats may cost, as measured on\n"
                   "SmolLM2-135M; formats of which it is not known are left out;\n"
                   "'any': try all")
      ->capture_default_str();
  verb->add_option("--prefill", flags->job.prefill_tokens,
                   "Tokens that the job reads, up to half of --ctx")
      ->capture_default_str();
  verb->add_option("--decode", flags->job.decode_tokens,
                   "Tokens that it decodes, up to a quarter of --ctx")
      ->capture_default_str();
  verb->add_option("--out", flags->out, "Profile to write")->capture_default_str();
  verb->add_flag("--json", flags->json, "Print one JSON object");
  verb->footer(
      "What is looked for is the least time of a job at the end of the context: reading\n"
      "--prefill tokens and decoding --decode ones. Threads, chunk and row formats are\n"
      "searched, each unless its flag (--threads, --chunk, --kv) says what it is to be.\n"
      "Every setting that is tried fits --memory. Ctrl-C keeps the best so far.\n\n"
      "Example:\n"
      "  varve tune MODEL --memory 8G --ctx 32768 && varve run MODEL \\\n"
      "    --profile varve-profile.toml -p 'In the beginning'");
  verb->callback([flags, verb, &action] {
    flags->given = given_flags(*verb, flags->engine);
    action = [flags] { return tune(*flags); };
  });
}

}  // namespace varve::cli
