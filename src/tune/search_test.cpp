// The search over settings whose speed is made up, by a clock that is: no time passes.
#include "tune/search.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/rng.h"

namespace varve {
namespace {

constexpr Job kJob{.prefill_tokens = 100, .decode_tokens = 10};

// 2 x 5 x 3 levels, the start in the middle of the chunks.
Space space_of_30() {
  Space space;
  space.threads = {1, 2};
  space.chunks = {32, 64, 128, 256, 512};
  space.formats = {{"", {}, {}}, {"--kv a", {}, 1e-4}, {"--kv b", {}, 2e-4}};
  space.start = Setting{{1, 2, 0}};
  return space;
}

// A machine: seconds of a token by setting, noise, and a clock.
struct Machine {
  std::function<double(const Setting&)> prefill, decode;
  double noise = 0;  // relative, to both sides
  double visit_seconds = 0.1;
  double interrupt_at = 1e9;
  std::function<bool(const Setting&)> fits = [](const Setting&) { return true; };
  std::function<bool(const Setting&)> fails = [](const Setting&) { return false; };

  double clock = 0;
  std::vector<Setting> visited = {};
  Rng rng{1};

  SearchTools tools() {
    return {.measure = [this](const Setting& setting, int effort) -> Result<Sample> {
              EXPECT_LE(effort, kMostEffort);
              clock += visit_seconds;
              visited.push_back(setting);
              if (fails(setting)) return usage_error("it fails");
              const double factor = 1 + noise * (2 * rng.uniform() - 1);
              Sample sample;
              sample.prefill_seconds = prefill(setting) * factor;
              sample.decode_seconds = decode(setting) * factor;
              sample.peak_bytes = 1000;
              return sample;
            },
            .fits = fits,
            .now = [this] { return clock; },
            .interrupted = [this] { return clock >= interrupt_at; },
            .progress = [](double) {}};
  }
};

Outcome run(Machine& machine, double budget_seconds = 60) {
  const Space space = space_of_30();
  const SearchTools tools = machine.tools();
  auto outcome = search(space, kJob, budget_seconds, tools);
  EXPECT_TRUE(outcome) << outcome.error().message;
  return outcome ? *outcome : Outcome{};
}

double chunk_cost(const Setting& setting, int best) {
  return 1 + 0.1 * std::abs(setting[Knob::chunk] - best);
}

Machine machine_with_best(const Setting& best) {
  const auto cost = [best](const Setting& setting) {
    return chunk_cost(setting, best[Knob::chunk]) *
           (1 + 0.3 * (best[Knob::threads] != setting[Knob::threads])) *
           (1 + 0.2 * std::abs(setting[Knob::formats] - best[Knob::formats]));
  };
  return {.prefill = cost, .decode = cost};
}

TEST(Search, FindsTheBestWhereverItIs) {
  for (const Setting& best : space_of_30().all()) {
    Machine machine = machine_with_best(best);
    machine.noise = 0.01;
    const Outcome outcome = run(machine);
    EXPECT_EQ(outcome.best.setting, best) << testing::PrintToString(best.levels);
    EXPECT_EQ(outcome.is_win(), best != space_of_30().start);
    EXPECT_TRUE(outcome.finished);
  }
}

TEST(Search, FindsWhatOnlyTogetherPays) {
  // The third format is fast with large chunks alone.
  Machine machine;
  machine.decode = [](const Setting&) { return 1.0; };
  machine.prefill = [](const Setting& s) {
    const double chunk = 1 - 0.05 * s[Knob::chunk];
    return s[Knob::formats] == 2 ? (s[Knob::chunk] >= 3 ? 0.4 : 0.9) : chunk;
  };
  const Outcome outcome = run(machine);
  EXPECT_EQ(outcome.best.setting[Knob::formats], 2);
  EXPECT_EQ(outcome.best.setting[Knob::chunk], 3);  // not 4, which is no faster
}

TEST(Search, WhatLiesWithinTheNoiseIsHardlyEverAWin) {
  int wins = 0;
  constexpr int kRuns = 400;
  for (uint64_t seed = 1; seed <= kRuns; ++seed) {
    Machine machine;
    machine.rng = Rng(seed);
    machine.noise = 0.1;
    machine.prefill =
        machine.decode = [](const Setting& s) { return s == space_of_30().start ? 1.0 : 0.995; };
    const Outcome outcome = run(machine);
    EXPECT_GE(outcome.noise, kLeastNoise);
    wins += outcome.is_win() ? 1 : 0;
  }
  EXPECT_LE(wins, kRuns / 50);
}

TEST(Search, ChangesThatDoNotPayAreTakenBack) {
  // Larger chunks and the other formats are faster by next to nothing; one thread is by far.
  Machine machine;
  machine.prefill = machine.decode = [](const Setting& s) {
    return (s[Knob::threads] == 0 ? 0.5 : 1.0) - 0.001 * s[Knob::chunk] - 0.001 * s[Knob::formats];
  };
  EXPECT_EQ(run(machine).best.setting, (Setting{{0, 2, 0}}));
}

TEST(Search, NothingIsVisitedThatDoesNotFit) {
  Machine machine = machine_with_best(Setting{{1, 4, 2}});
  machine.fits = [](const Setting& s) { return s[Knob::chunk] <= 2; };
  EXPECT_EQ(run(machine).best.setting, (Setting{{1, 2, 2}}));
  for (const Setting& setting : machine.visited) EXPECT_LE(setting[Knob::chunk], 2);
}

TEST(Search, SettingsThatFailAreOutAndTheStartMustNot) {
  Machine machine = machine_with_best(Setting{{1, 4, 2}});
  machine.fails = [](const Setting& s) { return s[Knob::formats] == 2; };
  const Outcome outcome = run(machine);
  EXPECT_EQ(outcome.best.setting, (Setting{{1, 4, 1}}));
  machine.fails = [](const Setting& s) { return s == space_of_30().start; };
  const Space space = space_of_30();
  const auto failed = search(space, kJob, 60, machine.tools());
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message, "it fails");
}

TEST(Search, TheBudgetHolds) {
  for (const double budget : {0.01, 0.5, 2.0, 7.0}) {
    Machine machine = machine_with_best(Setting{{1, 4, 2}});
    const Outcome outcome = run(machine, budget);
    EXPECT_LE(machine.clock, budget + machine.visit_seconds);
    EXPECT_FALSE(outcome.start.samples.empty());
    EXPECT_FALSE(outcome.finished);
  }
}

TEST(Search, InterruptedItKeepsTheBestSoFar) {
  Machine machine = machine_with_best(Setting{{1, 3, 1}});
  machine.interrupt_at = 2.5;  // in the sweep: each setting was visited at least twice
  const Outcome outcome = run(machine);
  EXPECT_TRUE(outcome.interrupted);
  EXPECT_FALSE(outcome.finished);
  EXPECT_LE(machine.clock, 2.5 + machine.visit_seconds);
  EXPECT_TRUE(outcome.is_win());
  Machine at_once = machine_with_best(Setting{{1, 3, 1}});
  at_once.interrupt_at = 0;
  const Outcome first = run(at_once);
  EXPECT_FALSE(first.is_win());
  EXPECT_EQ(first.start.samples.size(), 1U);
}

TEST(Search, QuartilesAndNoise) {
  Candidate start;
  for (const double seconds : {4.0, 1.0, 2.0, 3.0, 8.0}) {
    Sample sample;
    sample.prefill_seconds = seconds;
    sample.decode_seconds = 10 * seconds;
    start.samples.push_back(sample);
  }
  EXPECT_EQ(start.prefill_seconds(), 2);
  EXPECT_EQ(start.job_seconds({3, 2}), 3 * 2 + 2 * 20);
  EXPECT_EQ(Candidate().job_seconds(kJob), std::numeric_limits<double>::infinity());
}

TEST(Search, NoiseIsHowFarTheStartLiesFromItself) {
  Candidate start;
  Rng rng(1);
  for (int i = 0; i < 40; ++i) {
    Sample sample;
    sample.prefill_seconds = sample.decode_seconds = 1 + 0.5 * rng.uniform();
    start.samples.push_back(sample);
  }
  const double of_4 = noise_of(start, kJob, 4), of_16 = noise_of(start, kJob, 16);
  EXPECT_GT(of_4, of_16);
  EXPECT_LT(of_4, 0.5);
  EXPECT_GT(of_16, kLeastNoise);
  for (Sample& sample : start.samples) sample.prefill_seconds = sample.decode_seconds = 1;
  EXPECT_EQ(noise_of(start, kJob, 16), kLeastNoise);
}

}  // namespace
}  // namespace varve
