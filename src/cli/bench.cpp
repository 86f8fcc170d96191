// varve bench: how fast a model runs here, beside what the machine could do at most.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/cpu.h"
#include "base/rng.h"
#include "cli/engine_flags.h"
#include "cli/model_path.h"
#include "cli/progress.h"
#include "cli/prompt.h"
#include "cli/verbs.h"
#include "kernels/roofs.h"

namespace varve::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct BenchFlags {
  EngineFlags engine;
  std::vector<int> depths = {0, 4096};
  int prefill = 512;
  int decode = 16;
  int repetitions = 3;
  std::string fill = "seeded";
  bool json = false;
};

// Tokens per second over the repetitions.
struct Speed {
  double min = 0, median = 0, max = 0;
};

struct Measurement {
  std::string what;  // "prefill" or "decode"
  int asked_depth = 0;
  int depth = 0;  // the last one from which the tokens fit, where that is less
  int n_tokens = 0;
  int chunk_tokens = 0;  // read in one step, at most
  Speed speed;
  PartTimes times;  // over all repetitions
};

Speed summary(std::vector<double> rates) {
  std::sort(rates.begin(), rates.end());
  const size_t n = rates.size();
  return {rates.front(), (rates[(n - 1) / 2] + rates[n / 2]) / 2, rates.back()};
}

std::vector<int32_t> random_ids(int n, int vocab, uint64_t seed) {
  Rng rng(seed);
  std::vector<int32_t> ids(static_cast<size_t>(n));
  for (int32_t& id : ids) id = static_cast<int32_t>(rng.below(static_cast<uint64_t>(vocab)));
  return ids;
}

// Runs `body` (which reads n tokens) once to warm up and then once a repetition. The session stands
// at the depth before and after each of them; going back to it is outside the clock.
template <class Body>
Result<Measurement> measure(Engine& engine, Session& session, const BenchFlags& flags,
                            std::string what, int asked_depth, int n, Body body) {
  const int depth = session.n_tokens();
  const int chunk_tokens = engine.memory().chunk_tokens;
  Measurement out{std::move(what), asked_depth, depth, n, chunk_tokens, {}, {}};
  std::vector<double> rates;
  for (int rep = -1; rep < flags.repetitions; ++rep) {
    const PartTimes before = engine.times();
    const auto begin = Clock::now();
    VARVE_CHECKED(body(rep));
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    if (rep >= 0) {
      rates.push_back(n / seconds);
      for (int p = 0; p < kNumParts; ++p) {
        out.times.seconds[p] += engine.times().seconds[p] - before.seconds[p];
      }
    }
    VARVE_CHECKED(session.rewind(depth));
  }
  out.speed = summary(std::move(rates));
  return out;
}

// Brings an empty session to the depth, to which it can be rewound from then on at no cost.
Result<void> reach_depth(Session& session, const Model& model, const BenchFlags& flags, int depth) {
  if (depth == 0) return {};
  VARVE_CHECKED(flags.fill == "seeded" ? session.fill_seeded(depth, 1)
                                       : session.append(random_ids(depth, model.vocab_size(), 1)));
  session.save_resume_point();
  return {};
}

Result<std::vector<Measurement>> bench_depth(const std::shared_ptr<const Model>& model,
                                             EngineOptions options, const BenchFlags& flags,
                                             int asked_depth) {
  std::vector<Measurement> out;
  const int n_tokens = std::max(flags.decode, flags.prefill);
  if (asked_depth > model->max_position()) {
    return usage_error("--depth {}: the model was made for at most {} tokens", asked_depth,
                       model->max_position());
  }
  if (n_tokens > model->max_position()) {
    return usage_error("--prefill {} --decode {}: the model was made for at most {} tokens",
                       flags.prefill, flags.decode, model->max_position());
  }
  const int depth = std::min(asked_depth, model->max_position() - n_tokens);
  options.ctx_tokens = std::max(options.ctx_tokens, depth + n_tokens);
  // The one resume point is the depth itself.
  options.resume_points = 1;
  options.resume_interval_tokens = std::numeric_limits<int>::max();
  VARVE_TRY(const std::unique_ptr<Engine> engine, Engine::create(model, options));
  VARVE_TRY(Session session, engine->new_session());
  VARVE_CHECKED(reach_depth(session, *model, flags, depth));
  const int vocab = model->vocab_size();
  if (flags.prefill > 0) {
    VARVE_TRY(
        Measurement prefill,
        measure(*engine, session, flags, "prefill", asked_depth, flags.prefill, [&](int rep) {
          return session.append(random_ids(flags.prefill, vocab, static_cast<uint64_t>(rep + 2)));
        }));
    out.push_back(std::move(prefill));
  }
  if (flags.decode > 0) {
    const auto ids = random_ids(flags.decode, vocab, 3);
    VARVE_TRY(Measurement decode, measure(*engine, session, flags, "decode", asked_depth,
                                          flags.decode, [&](int) -> Result<void> {
                                            for (const int32_t id : ids) {
                                              VARVE_CHECKED(session.append({&id, 1}));
                                            }
                                            return {};
                                          }));
    out.push_back(std::move(decode));
  }
  return out;
}

// The least time a token that one part of a measurement can take, and what it is bound by.
struct PartRoof {
  DecodeCost cost;
  double seconds = 0;
  std::string_view bound;
};

PartRoof part_roof(const DecodeCost& cost, const EngineOptions& options, const Roofs& roofs) {
  // Dot instructions count only with the kernels that use them.
  const bool dots = options.kernels->name == "avx512bf16";
  double macs_per_s = roofs.f32_macs_per_s;
  std::string_view bound = "f32 FMA";
  if (dots && cost.unit == DecodeCost::Unit::int8 && roofs.int8_macs_per_s > 0) {
    macs_per_s = roofs.int8_macs_per_s;
    bound = "int8 dot";
  } else if (dots && cost.unit == DecodeCost::Unit::products &&
             options.products == Products::bf16) {
    macs_per_s = roofs.bf16_macs_per_s;
    bound = "bf16 dot";
  }
  const double read = cost.bytes / roofs.read_bytes_per_s;
  const double multiply = cost.macs / macs_per_s;
  return {cost, std::max(read, multiply), read >= multiply ? "read bandwidth" : bound};
}

std::vector<PartRoof> part_roofs(const Measurement& m, const Model& model,
                                 const EngineOptions& options, const Roofs& roofs) {
  std::vector<PartRoof> out;
  const auto costs = m.what == "decode" ? model.decode_costs(options.formats, m.depth)
                                        : model.prefill_costs(options.formats, m.depth, m.n_tokens,
                                                              m.chunk_tokens);
  for (const DecodeCost& cost : costs) {
    if (cost.bytes > 0) out.push_back(part_roof(cost, options, roofs));
  }
  return out;
}

// The share that was reached of what the machine could do at most, one part after the other.
double share_of_roof(const Measurement& m, const std::vector<PartRoof>& parts) {
  double seconds = 0;
  for (const PartRoof& part : parts) seconds += part.seconds;
  return m.speed.median * seconds;
}

void print_parts(const std::vector<PartRoof>& parts) {
  for (const PartRoof& part : parts) {
    fmt::print("         {:<12} {:>11} {:>10.1f} M MAC {:>9.1f} us, {}\n", part.cost.part,
               human_bytes(part.cost.bytes), part.cost.macs / 1e6, part.seconds * 1e6, part.bound);
  }
}

void print_table(const std::vector<Measurement>& all, const Model& model, const Roofs& roofs,
                 const EngineOptions& options, const BenchFlags& flags, int n_threads) {
  fmt::print("{}, {} threads, kernels {}, products {}\n", cpu_name(), n_threads,
             options.kernels->name, options.products == Products::f32 ? "f32" : "bf16");
  fmt::print("roofs, measured here: read {:.1f} GB/s, f32 FMA {:.0f} GMAC/s,\n  bf16 dot ",
             roofs.read_bytes_per_s / 1e9, roofs.f32_macs_per_s / 1e9);
  const auto dot = [](double macs) {
    return macs > 0 ? fmt::format("{:.0f} GMAC/s", macs / 1e9) : std::string("none");
  };
  fmt::print("{}, int8 dot {}\n", dot(roofs.bf16_macs_per_s), dot(roofs.int8_macs_per_s));
  fmt::print("weights per decoded token (mean over experts): {} read, {:.0f} M multiply-adds\n",
             human_bytes(static_cast<double>(model.decode_weight_bytes())),
             static_cast<double>(model.decode_weight_macs()) / 1e6);
  fmt::print("depth is reached by {}\n\n",
             flags.fill == "seeded" ? "seeded random rows, not by prefill" : "prefill");
  fmt::print("{:<8} {:>8} {:>7} {:>9} {:>9} {:>9} {:>8}\n", "", "depth", "tokens", "min t/s",
             "median", "max", "of roof");
  for (const Measurement& m : all) {
    const std::vector<PartRoof> parts = part_roofs(m, model, options, roofs);
    fmt::print("{:<8} {:>8} {:>7} {:>9.2f} {:>9.2f} {:>9.2f} {:>6.0f} %\n", m.what, m.depth,
               m.n_tokens, m.speed.min, m.speed.median, m.speed.max, 100 * share_of_roof(m, parts));
    if (m.depth < m.asked_depth) {
      fmt::print("         asked for at {}: the last depth from which the tokens fit\n",
                 m.asked_depth);
    }
    fmt::print("         time: {}\n", time_shares(m.times));
    print_parts(parts);
  }
}

void print_json(const std::vector<Measurement>& all, const Model& model, const Roofs& roofs,
                const EngineOptions& options, const BenchFlags& flags, int n_threads) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Measurement& m : all) {
    const std::vector<PartRoof> parts = part_roofs(m, model, options, roofs);
    nlohmann::ordered_json seconds;
    for (int p = 0; p < kNumParts; ++p) {
      seconds[std::string(part_name(static_cast<Part>(p)))] = m.times.seconds[p];
    }
    rows.push_back(
        {{"what", m.what},
         {"asked_depth", m.asked_depth},
         {"depth", m.depth},
         {"tokens", m.n_tokens},
         {"tokens_per_s", {{"min", m.speed.min}, {"median", m.speed.median}, {"max", m.speed.max}}},
         {"chunk_tokens", m.chunk_tokens},
         {"share_of_roof", share_of_roof(m, parts)},
         {"part_seconds", seconds}});
    for (const PartRoof& part : parts) {
      rows.back()["parts"].push_back({{"part", part.cost.part},
                                      {"bytes", part.cost.bytes},
                                      {"macs", part.cost.macs},
                                      {"roof_seconds", part.seconds},
                                      {"bound_by", part.bound}});
    }
  }
  const nlohmann::ordered_json out = {
      {"schema", "varve.bench/1"},
      {"cpu", cpu_name()},
      {"threads", n_threads},
      {"kernels", options.kernels->name},
      {"products", options.products == Products::f32 ? "f32" : "bf16"},
      {"fill", flags.fill},
      {"roofs",
       {{"read_bytes_per_s", roofs.read_bytes_per_s},
        {"f32_macs_per_s", roofs.f32_macs_per_s},
        {"bf16_macs_per_s", roofs.bf16_macs_per_s},
        {"int8_macs_per_s", roofs.int8_macs_per_s}}},
      {"weight_bytes_per_token", model.decode_weight_bytes()},
      {"weight_macs_per_token", model.decode_weight_macs()},
      {"rows", rows}};
  fmt::print("{}\n", out.dump());
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
  VARVE_TRY(const std::string path, model_or_bundled(flags.engine.model));
  VARVE_TRY(std::shared_ptr<const Model> model, load_model(path));
  ThreadPool pool(options.n_threads > 0 ? options.n_threads : usable_cores());
  const Roofs roofs = measure_roofs(pool);
  std::vector<Measurement> all;
  double n_done = 0;
  Progress progress("bench", static_cast<double>(flags.depths.size()), "depths");
  for (const int depth : flags.depths) {
    VARVE_TRY(std::vector<Measurement> rows, bench_depth(model, options, flags, depth));
    std::move(rows.begin(), rows.end(), std::back_inserter(all));
    progress.update(++n_done);
  }
  progress.finish();
  (flags.json ? print_json : print_table)(all, *model, roofs, options, flags, pool.n_threads());
  return {};
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
                   "How depth is reached: 'seeded' random rows, or an honest 'prefill'")
      ->capture_default_str();
  verb->add_flag("--json", flags->json, "Print one JSON object");
  verb->callback([flags, &action] { action = [flags] { return bench(*flags); }; });
}

}  // namespace varve::cli
