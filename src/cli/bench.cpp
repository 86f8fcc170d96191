// varve bench: how fast a model runs here, beside what the machine could do at most.
#include <algorithm>
#include <limits>
#include <memory>

#include "base/contention.h"
#include "base/cpu.h"
#include "cli/bench_report.h"
#include "cli/engine_flags.h"
#include "cli/model_path.h"
#include "cli/output_file.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "engine/speed.h"

namespace varve::cli {
namespace {

struct BenchFlags {
  EngineFlags engine;
  std::vector<int> depths = {0, 4096};
  int prefill = 512;
  int decode = 16;
  int repetitions = 3;
  std::string fill = "seeded";
  bool json = false;
  bool profile = false;
  bool predict = false;
  std::string plot;  // empty: none
};

// Of reading, beside a repetition.
constexpr double kReadSeconds = 0.03;

// Times `body` once to warm up and then once a repetition.
template <class Body>
Result<void> measure(const BenchFlags& flags, ReadRoof& read, Measurement& out, Body body) {
  for (int rep = -1; rep < flags.repetitions; ++rep) {
    const double read_before = read.measure(kReadSeconds);
    VARVE_TRY(const Timing timing, body(rep));
    if (rep < 0) continue;
    out.repetitions.push_back(
        {out.n_tokens / timing.seconds, (read_before + read.measure(kReadSeconds)) / 2});
    for (int p = 0; p < kNumParts; ++p) out.times.seconds[p] += timing.parts.seconds[p];
  }
  return {};
}

// One measurement's place: the engine that it asks for and the tokens already in the cache.
struct Place {
  int asked_depth = 0;
  int depth = 0;
  EngineOptions options;
  size_t arena_bytes = 0;
};

Result<Place> place_at(const Model& model, const BenchFlags& flags, EngineOptions options,
                       int asked_depth) {
  const int n_tokens = std::max(flags.decode, flags.prefill);
  if (asked_depth > model.max_position()) {
    return usage_error("--depth {}: the model was made for at most {} tokens", asked_depth,
                       model.max_position());
  }
  if (n_tokens > model.max_position()) {
    return usage_error("--prefill {} --decode {}: the model was made for at most {} tokens",
                       flags.prefill, flags.decode, model.max_position());
  }
  const int depth = std::min(asked_depth, model.max_position() - n_tokens);
  options.ctx_tokens = std::max(options.ctx_tokens, depth + n_tokens);
  // The one resume point is the depth itself.
  options.resume_points = 1;
  options.resume_interval_tokens = std::numeric_limits<int>::max();
  ProcessBytes process = process_beside(model, options, nullptr);
  process.read_roof = ReadRoof::kBytes;
  VARVE_TRY(const Wall wall, Wall::parse(flags.engine.memory));
  VARVE_TRY(options, fit_within(model, options, process, wall, depth + n_tokens));
  VARVE_TRY(const MemoryPlan plan, Engine::plan(model, options));
  return Place{asked_depth, depth, options, plan.arena_bytes};
}

Result<std::vector<Measurement>> bench_at(const std::shared_ptr<const Model>& model,
                                          const Place& place, const BenchFlags& flags,
                                          ReadRoof& read) {
  std::vector<Measurement> out;
  VARVE_TRY(const std::unique_ptr<Engine> engine, Engine::create(model, place.options));
  VARVE_TRY(Session session, engine->new_session());
  const int vocab = model->vocab_size();
  VARVE_CHECKED(reach_depth(session, vocab, place.depth,
                            flags.fill == "seeded" ? Fill::seeded : Fill::prefill));
  const auto row = [&](std::string what, int n_tokens) {
    return Measurement{std::move(what),
                       place.asked_depth,
                       place.depth,
                       n_tokens,
                       engine->memory().chunk_tokens,
                       {},
                       {}};
  };
  if (flags.prefill > 0) {
    out.push_back(row("prefill", flags.prefill));
    VARVE_CHECKED(measure(flags, read, out.back(), [&](int rep) {
      return time_prefill(*engine, {&session, 1},
                          random_ids(flags.prefill, vocab, static_cast<uint64_t>(rep + 2)));
    }));
  }
  if (flags.decode > 0) {
    out.push_back(row("decode", flags.decode));
    const auto ids = random_ids(flags.decode, vocab, 3);
    VARVE_CHECKED(measure(flags, read, out.back(),
                          [&](int) { return time_decode(*engine, {&session, 1}, ids); }));
  }
  return out;
}

Result<void> bench(const BenchFlags& flags) {
  VARVE_TRY(EngineOptions options, flags.engine.options());
  if (flags.fill != "seeded" && flags.fill != "prefill") {
    return usage_error("--fill {}: expected 'seeded' or 'prefill'", flags.fill);
  }
  if (flags.repetitions < 1) return usage_error("--reps {}: expected 1 or more", flags.repetitions);
  if (flags.prefill < 0 || flags.decode < 0 || flags.prefill + flags.decode == 0) {
    return usage_error("--prefill {} --decode {}: nothing to measure", flags.prefill, flags.decode);
  }
  if (options.n_threads > 1024) {
    return usage_error("--threads {}: expected 1 to 1024", options.n_threads);
  }
  for (const int depth : flags.depths) {
    if (depth < 0) return usage_error("--depth {}: expected 0 or more tokens", depth);
  }
  VARVE_CHECKED(check_writable("--plot", flags.plot));
  VARVE_TRY(const std::string path, model_or_bundled(flags.engine.model));
  VARVE_TRY(std::shared_ptr<const Model> shapes, flags.engine.open_shapes(path));
  std::vector<Place> places;
  size_t arena_bytes = 0;  // of the largest
  for (const int depth : flags.depths) {
    VARVE_TRY(const Place place, place_at(*shapes, flags, options, depth));
    arena_bytes = std::max(arena_bytes, place.arena_bytes);
    places.push_back(place);
  }
  ThreadPool pool(options.n_threads > 0 ? options.n_threads : usable_cores());
  // First: it takes and gives back as much as is planned for reading through.
  std::optional<Calibration> calibration;
  if (flags.predict) {
    EngineOptions calibrated = places.front().options;
    calibrated.n_threads = pool.n_threads();
    VARVE_TRY(calibration, calibrate(shapes, calibrated));
  }
  VARVE_TRY(const std::shared_ptr<Model> model, load_in_place_of(std::move(shapes), path));
  VARVE_TRY(std::string weights, flags.engine.place_weights(*model, arena_bytes));
  VARVE_CHECKED(pool.start());
  const Contention contention;
  ReadRoof read(pool);
  BenchReport report{.model_name = model_name(path),
                     .model = model.get(),
                     .options = options,
                     .n_threads = pool.n_threads(),
                     .fill = flags.fill,
                     .weights = std::move(weights),
                     .roofs = measure_roofs(pool, read),
                     .calibration = calibration,
                     .waited_share = 0,
                     .rows = {}};
  double n_done = 0;
  Progress progress("bench", static_cast<double>(flags.depths.size()), "depths");
  for (const Place& place : places) {
    VARVE_TRY(std::vector<Measurement> rows, bench_at(model, place, flags, read));
    std::move(rows.begin(), rows.end(), std::back_inserter(report.rows));
    progress.update(++n_done);
  }
  progress.finish();
  report.waited_share = contention.waited_share();
  if (flags.json) {
    print_bench_json(report);
  } else {
    print_bench_table(report, flags.profile);
  }
  if (flags.plot.empty()) return {};
  return write_output("--plot", flags.plot, bench_plot(report));
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  CLI::App* const verb = app.add_subcommand("bench", "Measure speed against the machine's roofs");
  const auto flags = std::make_shared<BenchFlags>();
  flags->engine.add_to(*verb);
  verb->add_option("--depth", flags->depths, "Tokens already in the cache, e.g. 0,4096")
      ->delimiter(',')
      ->capture_default_str();
  verb->add_option("--prefill", flags->prefill, "Tokens of a prefill; 0: none")
      ->capture_default_str();
  verb->add_option("--decode", flags->decode, "Tokens decoded in one repetition; 0: none")
      ->capture_default_str();
  verb->add_option("--reps", flags->repetitions, "Repetitions")->capture_default_str();
  verb->add_option("--fill", flags->fill,
                   "How depth is reached: 'seeded' random rows, or an honest\n'prefill'")
      ->capture_default_str();
  verb->add_flag("--json", flags->json, "Print one JSON object");
  CLI::Option* const profile = verb->get_option("--profile");
  profile->expected(0, 1)->type_name("[FILE]")->description(
      "Print where the time went beside the roof of each part; with a FILE\n"
      "that `varve tune` wrote also take its settings, where flags say\n"
      "nothing else");
  verb->add_flag("--predict", flags->predict,
                 "Print beside each speed what 'plan' predicts from a calibration that\n"
                 "is made first");
  verb->add_option("--plot", flags->plot, "Write tokens/s over depth to an SVG file");
  verb->footer(
      "Example: from an empty cache to a million tokens, with a plot\n"
      "  varve bench MODEL --depth 0,32768,131072,1048576 --profile --plot out.svg");
  verb->callback([flags, profile, &action] {
    flags->profile = profile->count() > 0;
    action = [flags] { return bench(*flags); };
  });
}

}  // namespace varve::cli
