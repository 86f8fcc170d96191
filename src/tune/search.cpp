#include "tune/search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <tuple>
#include <utility>

#include "base/rng.h"
#include "engine/speed.h"

namespace varve {
namespace {

// Settings that the first round of halving begins with.
constexpr size_t kHalvedSettings = 8;
constexpr size_t kFinalists = 2;

// Of the budget: when the sweep ends after the turn under way, and each of the rounds that leave
// kFinalists of kHalvedSettings. Where the sweep took longer, they fall away: it has ranked them.
constexpr double kSweepShare = 0.25;
constexpr double kRoundShare = 0.1;
constexpr double kHalvingEnd = 0.4;
// When finalists are no longer compared, so that time is left to meet the start.
constexpr double kSettlingEnd = 0.75;

constexpr int kMostTurns = 12;        // of one stage
constexpr size_t kSettleSamples = 6;  // of each setting that is compared in the end
constexpr size_t kDuelSamples = 12;   // of the winner and of the start

// Where the start was measured too seldom to tell.
constexpr double kAssumedNoise = 0.1;
constexpr size_t kLeastNoiseSamples = 4;
constexpr size_t kNoiseDraws = 400;

constexpr double kNever = std::numeric_limits<double>::infinity();

double quartile_of(const std::vector<Sample>& samples, double Sample::* seconds) {
  if (samples.empty()) return kNever;
  std::vector<double> values;
  values.reserve(samples.size());
  for (const Sample& sample : samples) values.push_back(sample.*seconds);
  return lower_quartile(std::move(values));
}

class Search {
 public:
  Search(const Space& space, const Job& job, double budget_seconds, const SearchTools& tools)
      : space_(space), job_(job), budget_(budget_seconds), tools_(tools), begin_(tools.now()) {}

  Result<Outcome> run() {
    VARVE_CHECKED(sweep());
    VARVE_CHECKED(halve());
    VARVE_CHECKED(settle());
    outcome_.interrupted = tools_.interrupted();
    outcome_.finished = !is_cut_short_;
    return std::move(outcome_);
  }

 private:
  // The start is the first of every pool.
  using Pool = std::vector<Candidate>;

  double elapsed() const { return tools_.now() - begin_; }
  bool is_over() const { return tools_.interrupted() || elapsed() >= budget_; }

  Result<void> visit(Candidate& candidate, int effort) {
    Result<Sample> sample = tools_.measure(candidate.setting, effort);
    tools_.progress(elapsed());
    if (sample) {
      candidate.samples.push_back(*sample);
      ++outcome_.n_visits;
      if (std::find(visited_.begin(), visited_.end(), candidate.setting) == visited_.end()) {
        visited_.push_back(candidate.setting);
        outcome_.n_settings = static_cast<int>(visited_.size());
      }
      return {};
    }
    if (candidate.setting == space_.start) return tl::unexpected<Error>(std::move(sample).error());
    candidate.failure = sample.error().message;
    candidate.samples.clear();
    return {};
  }

  // Each once; nothing more when the time is over.
  Result<void> take_turns(const std::vector<Candidate*>& candidates, int effort) {
    for (Candidate* const candidate : candidates) {
      if (is_over() && outcome_.n_visits > 0) return {};
      if (candidate->failure.empty()) VARVE_CHECKED(visit(*candidate, effort));
    }
    return {};
  }

  // A turn at least, and then until that much of the time is gone.
  Result<void> measure_stage(Pool& pool, int effort, double until_seconds) {
    std::vector<Candidate*> all;
    for (Candidate& candidate : pool) {
      candidate.samples.clear();
      all.push_back(&candidate);
    }
    for (int turn = 0; turn < kMostTurns && (turn == 0 || elapsed() < until_seconds); ++turn) {
      VARVE_CHECKED(take_turns(all, effort));
    }
    return {};
  }

  // What is known by now: the result, should the search end here.
  void conclude(const Pool& pool) {
    const Candidate& start = pool.front();
    if (start.samples.empty()) return;
    const Candidate* best = &start;
    for (const Candidate& candidate : pool) {
      if (candidate.job_seconds(job_) < best->job_seconds(job_)) best = &candidate;
    }
    conclude(start, *best);
  }
  void conclude(const Candidate& start, const Candidate& best, double least_noise = 0) {
    if (start.samples.empty() || best.samples.empty()) return;
    outcome_.start = start;
    outcome_.noise = std::max(least_noise, noise_of(start, job_, best.samples.size()));
    const bool is_win = best.job_seconds(job_) * (1 + outcome_.noise) < start.job_seconds(job_);
    outcome_.best = is_win ? best : start;
  }

  Result<void> sweep() {
    Pool pool;
    for (const Setting& setting : space_.around_start()) {
      if (setting == space_.start || tools_.fits(setting)) pool.push_back({setting, {}, {}});
    }
    VARVE_CHECKED(measure_stage(pool, 0, kSweepShare * budget_));
    conclude(pool);
    outcome_.sweep = std::move(pool);
    return {};
  }

  // Seconds of the job if the knobs act apart, by the sweep.
  double predicted(const Setting& setting) const {
    const Candidate& start = outcome_.sweep.front();
    double prefill = start.prefill_seconds(), decode = start.decode_seconds();
    for (const Knob knob : kKnobs) {
      Setting one = space_.start;
      one[knob] = setting[knob];
      const auto swept = std::find_if(outcome_.sweep.begin(), outcome_.sweep.end(),
                                      [&](const Candidate& c) { return c.setting == one; });
      if (swept == outcome_.sweep.end()) return kNever;
      prefill *= swept->prefill_seconds() / start.prefill_seconds();
      decode *= swept->decode_seconds() / start.decode_seconds();
    }
    return job_.prefill_tokens * prefill + job_.decode_tokens * decode;
  }

  Pool most_promising() const {
    std::vector<std::pair<double, Setting>> ranked;
    for (const Setting& setting : space_.all()) {
      const double seconds = predicted(setting);
      if (setting == space_.start || seconds == kNever || !tools_.fits(setting)) continue;
      ranked.emplace_back(seconds, setting);
    }
    std::sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) {
      return std::tie(a.first, a.second.levels) < std::tie(b.first, b.second.levels);
    });
    if (ranked.empty()) return {{space_.start, {}, {}}};
    // Of those that may well be the fastest the one that changes least comes first.
    const double limit =
        ranked.front().first * (1 + noise_of(outcome_.sweep.front(), job_, kLeastNoiseSamples));
    const auto end = std::find_if(ranked.begin(), ranked.end(),
                                  [&](const auto& some) { return some.first > limit; });
    const auto plainest = std::min_element(ranked.begin(), end, [&](const auto& a, const auto& b) {
      return distance(a.second) < distance(b.second);
    });
    std::rotate(ranked.begin(), plainest, plainest + 1);
    if (ranked.size() > kHalvedSettings) ranked.resize(kHalvedSettings);
    Pool pool = {{space_.start, {}, {}}};
    for (const auto& [seconds, setting] : ranked) pool.push_back({setting, {}, {}});
    return pool;
  }

  // From the start, in levels.
  int distance(const Setting& setting) const {
    int sum = 0;
    for (const Knob knob : kKnobs) sum += std::abs(setting[knob] - space_.start[knob]);
    return sum;
  }

  // The place of the setting that changes least of those in pool_ that are not slower than the
  // fastest by more than the noise; fewer samples than that do not count. Never the start, unless
  // it is alone: whether the change pays at all is for the duel to say.
  size_t plainest(size_t least_samples) const {
    if (pool_.size() == 1) return 0;
    const auto seconds = [&](const Candidate& candidate) {
      return candidate.samples.size() < least_samples ? kNever : candidate.job_seconds(job_);
    };
    double fastest = kNever;
    size_t n_samples = kSettleSamples;
    for (const Candidate& candidate : std::span(pool_).subspan(1)) {
      fastest = std::min(fastest, seconds(candidate));
      n_samples = std::min(n_samples, std::max<size_t>(1, candidate.samples.size()));
    }
    const double limit = fastest * (1 + noise_of(pool_.front(), job_, n_samples));
    std::vector<std::tuple<int, double, size_t>> ranked;
    for (size_t place = 1; place < pool_.size(); ++place) {
      const double own = seconds(pool_[place]);
      if (own <= limit) ranked.emplace_back(distance(pool_[place].setting), own, place);
    }
    return std::get<size_t>(*std::min_element(ranked.begin(), ranked.end()));
  }

  Result<void> halve() {
    pool_ = most_promising();
    double until = kSweepShare;
    for (int effort = 1; pool_.size() > 1 + kFinalists && elapsed() < kHalvingEnd * budget_;
         ++effort) {
      if (tools_.interrupted()) return {};
      until += kRoundShare;
      VARVE_CHECKED(measure_stage(pool_, std::min(effort, kMostEffort), until * budget_));
      conclude(pool_);
      std::sort(pool_.begin() + 1, pool_.end(), [&](const Candidate& a, const Candidate& b) {
        return std::pair(a.job_seconds(job_), a.setting.levels) <
               std::pair(b.job_seconds(job_), b.setting.levels);
      });
      const auto kept = static_cast<ptrdiff_t>(plainest(1));
      std::rotate(pool_.begin() + 1, pool_.begin() + kept, pool_.begin() + kept + 1);
      pool_.resize(1 + std::max(kFinalists, pool_.size() / 2));
    }
    if (pool_.size() > 1 + kFinalists) pool_.resize(1 + kFinalists);
    return {};
  }

  // `setting` with one knob a level nearer to the start, one for each knob that was turned; not the
  // start itself.
  std::vector<Setting> steps_back(const Setting& setting) const {
    std::vector<Setting> out;
    for (const Knob knob : kKnobs) {
      const int away = setting[knob] - space_.start[knob];
      if (away == 0) continue;
      Setting nearer = setting;
      nearer[knob] -= away > 0 ? 1 : -1;
      if (nearer != space_.start && tools_.fits(nearer)) out.push_back(nearer);
    }
    return out;
  }

  // Places in pool_, new ones at its end.
  size_t place_of(const Setting& setting) {
    const auto at = std::find_if(pool_.begin(), pool_.end(),
                                 [&](const Candidate& c) { return c.setting == setting; });
    if (at != pool_.end()) return static_cast<size_t>(at - pool_.begin());
    pool_.push_back({setting, {}, {}});
    return pool_.size() - 1;
  }

  // Until each has samples enough; the start goes along in every turn.
  Result<void> compare(const std::vector<size_t>& places, size_t n_samples, double until_seconds) {
    while (!is_over() && elapsed() < until_seconds) {
      std::vector<Candidate*> some = {&pool_.front()};
      for (const size_t place : places) {
        Candidate& candidate = pool_[place];
        const bool wanted = place > 0 && candidate.samples.size() < n_samples;
        if (wanted && candidate.failure.empty()) some.push_back(&candidate);
      }
      if (some.size() == 1 && pool_.front().samples.size() >= n_samples) return {};
      VARVE_CHECKED(take_turns(some, kMostEffort));
    }
    is_cut_short_ = true;
    return {};
  }

  Result<void> settle() {
    is_cut_short_ = is_over();
    if (is_cut_short_) return {};
    for (Candidate& candidate : pool_) candidate.samples.clear();
    std::vector<size_t> places(pool_.size());
    std::iota(places.begin(), places.end(), size_t{0});
    while (true) {
      VARVE_CHECKED(compare(places, kSettleSamples, kSettlingEnd * budget_));
      if (pool_.front().samples.size() < 2) return {};
      const size_t best = plainest(2);
      conclude(pool_.front(), pool_[best]);
      if (elapsed() >= kSettlingEnd * budget_) return duel(best);
      // Without one of its changes each: where that has been measured, it is slower.
      places.clear();
      for (const Setting& step : steps_back(pool_[best].setting)) {
        const size_t place = place_of(step);
        if (pool_[place].samples.empty() && pool_[place].failure.empty()) places.push_back(place);
      }
      if (places.empty()) return duel(best);
    }
  }

  // The start against another, or, where there is none, the start for its own sake.
  Result<void> duel(size_t other) {
    is_cut_short_ = is_cut_short_ || is_over();
    if (is_over()) return {};
    // A quiet minute does not make the machine a quiet one.
    const double noise_before = noise_of(pool_.front(), job_, kDuelSamples);
    pool_.front().samples.clear();
    pool_[other].samples.clear();
    VARVE_CHECKED(compare({other}, kDuelSamples, budget_));
    if (pool_[other].samples.size() < kLeastNoiseSamples) return {};
    conclude(pool_.front(), pool_[other], noise_before);
    return {};
  }

  const Space& space_;
  const Job job_;
  const double budget_;
  const SearchTools& tools_;
  const double begin_;
  Pool pool_;
  bool is_cut_short_ = false;  // by the time
  std::vector<Setting> visited_;
  Outcome outcome_;
};

}  // namespace

double Candidate::prefill_seconds() const {
  return quartile_of(samples, &Sample::prefill_seconds);
}

double Candidate::decode_seconds() const {
  return quartile_of(samples, &Sample::decode_seconds);
}

double Candidate::job_seconds(const Job& job) const {
  return job.prefill_tokens * prefill_seconds() + job.decode_tokens * decode_seconds();
}

size_t Candidate::peak_bytes() const {
  size_t most = 0;
  for (const Sample& sample : samples) most = std::max(most, sample.peak_bytes);
  return most;
}

double noise_of(const Candidate& start, const Job& job, size_t n_samples) {
  const size_t n = start.samples.size();
  if (n < kLeastNoiseSamples) return kAssumedNoise;
  Rng rng(1);
  const auto draw = [&] {
    Candidate again;
    for (size_t i = 0; i < n_samples; ++i) again.samples.push_back(start.samples[rng.below(n)]);
    return again.job_seconds(job);
  };
  std::vector<double> apart(kNoiseDraws);
  for (double& relative : apart) relative = std::abs(draw() / draw() - 1);
  std::sort(apart.begin(), apart.end());
  return std::max(kLeastNoise, apart[kNoiseDraws * 99 / 100]);
}

Result<Outcome> search(const Space& space, const Job& job, double budget_seconds,
                       const SearchTools& tools) {
  return Search(space, job, budget_seconds, tools).run();
}

}  // namespace varve
