#include "server/generation_loop.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace varve::server {
namespace {

// Of things that people ask the engine's thread to do in between: they are quick.
constexpr size_t kMaxVisits = 16;

double seconds_between(Generation::Clock::time_point from, Generation::Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

Error shutting_down() {
  return {ErrorKind::internal, "the server is shutting down"};
}

}  // namespace

SampledToken with_logprobs(std::span<const float> logits, int32_t id, int n_top) {
  const auto value = [&](int32_t i) {
    const float logit = logits[static_cast<size_t>(i)];
    return std::isnan(logit) ? -std::numeric_limits<float>::infinity() : logit;
  };
  float highest = -std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < logits.size(); ++i) {
    highest = std::max(highest, value(static_cast<int32_t>(i)));
  }
  double sum = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    sum += std::exp(static_cast<double>(value(static_cast<int32_t>(i))) - highest);
  }
  const double log_sum = highest + std::log(sum);
  const auto logprob = [&](int32_t i) { return static_cast<float>(value(i) - log_sum); };
  SampledToken token{.id = id, .logprob = logprob(id)};
  std::vector<int32_t> order(logits.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  const auto n = static_cast<std::ptrdiff_t>(std::min(order.size(), static_cast<size_t>(n_top)));
  std::partial_sort(order.begin(), order.begin() + n, order.end(), [&](int32_t a, int32_t b) {
    return value(a) > value(b) || (value(a) == value(b) && a < b);
  });
  for (auto it = order.begin(); it != order.begin() + n; ++it) {
    token.top.push_back({*it, logprob(*it)});
  }
  return token;
}

GenerationLoop::Run::Run(std::shared_ptr<Generation> asked, Session owned, Sampler drawn,
                         const Tokenizer& tokenizer)
    : generation(std::move(asked)),
      session(std::move(owned)),
      sampler(std::move(drawn)),
      decoder(tokenizer),
      stops(generation->request().stop_strings) {}

GenerationLoop::GenerationLoop(Engine& engine, const Tokenizer& tokenizer,
                               const LoopOptions& options)
    : engine_(&engine), tokenizer_(&tokenizer), options_(options), pool_(engine), watch_(engine) {}

GenerationLoop::~GenerationLoop() {
  stop();
  fail_all();
}

template <class Change>
void GenerationLoop::count(Change change) {
  const std::lock_guard lock(stats_mutex_);
  change(stats_);
}

// ---- any thread

Result<void> GenerationLoop::check(const GenerationRequest& request) const {
  const int n_ctx = engine_->options().ctx_tokens;
  const int vocab = engine_->model().vocab_size();
  if (request.prompt.empty()) return usage_error("the prompt has no tokens");
  if (request.prompt.size() > static_cast<size_t>(n_ctx)) {
    return usage_error("the prompt has {} tokens; the context holds {}", request.prompt.size(),
                       n_ctx);
  }
  for (size_t i = 0; i < request.prompt.size(); ++i) {
    const int32_t id = request.prompt[i];
    if (id < 0 || id >= vocab) {
      return usage_error("token {} of the prompt has id {}; the vocabulary has ids 0 to {}", i, id,
                         vocab - 1);
    }
  }
  VARVE_CHECKED(Sampler::create(request.sampling, vocab));
  return {};
}

std::shared_ptr<Generation> GenerationLoop::submit(GenerationRequest request) {
  auto generation = std::make_shared<Generation>(std::move(request), options_.max_pieces, bell_);
  {
    const std::lock_guard lock(mutex_);
    if (is_stopping_ || waiting_.size() >= options_.max_waiting) {
      count([](LoopStats& stats) { ++stats.n_refused; });
      return nullptr;
    }
    waiting_.push_back(generation);
  }
  bell_->ring();
  return generation;
}

bool GenerationLoop::visit(std::function<void(SessionPool&)> look) {
  return ask([this, look = std::move(look)] { look(pool_); });
}

std::optional<CacheView> GenerationLoop::cache_view() {
  std::optional<CacheView> view;
  ask([&] {
    for (const auto& run : runs_) watch_.see(run->number, run->session);
    view = watch_.look();
  });
  return view;
}

bool GenerationLoop::ask(std::function<void()> look) {
  std::future<bool> done;
  {
    const std::lock_guard lock(mutex_);
    if (is_stopping_ || visits_.size() >= kMaxVisits) return false;
    visits_.push_back({std::move(look), {}});
    done = visits_.back().done.get_future();
  }
  bell_->ring();
  return done.get();
}

LoopStats GenerationLoop::stats() const {
  const std::lock_guard lock(stats_mutex_);
  return stats_;
}

void GenerationLoop::stop() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  bell_->ring();
}

// ---- the engine's thread

bool GenerationLoop::is_stopping() const {
  const std::lock_guard lock(mutex_);
  return is_stopping_;
}

void GenerationLoop::run() {
  try {
    while (!is_stopping()) {
      if (!advance()) bell_->wait();
    }
  } catch (...) {  // nobody is to wait for a thread that is gone
    stop();
    fail_all();
    throw;
  }
  fail_all();
}

bool GenerationLoop::advance() {
  bool did = take_visit();
  did |= drop_cancelled();
  did |= admit();
  watch_.attend();
  const int n_read = engine_->step();
  if (n_read > 0) {
    did = true;
    count([&](LoopStats& stats) {
      ++stats.n_steps;
      stats.n_read_tokens += static_cast<uint64_t>(n_read);
    });
    see_interval_points();
  }
  for (const auto& run : runs_) did |= sample(*run);
  std::erase_if(runs_, [](const auto& run) { return run->is_over; });
  count_sessions();
  return did;
}

// The engine makes a resume point at each multiple of its interval.
void GenerationLoop::see_interval_points() {
  for (const auto& run : runs_) {
    if (run->session.n_tokens() % engine_->options().resume_interval_tokens != 0) continue;
    watch_.see(run->number, run->session);
  }
}

bool GenerationLoop::take_visit() {
  std::optional<Visit> visit;
  {
    const std::lock_guard lock(mutex_);
    if (visits_.empty()) return false;
    visit = std::move(visits_.front());
    visits_.pop_front();
  }
  visit->look();
  visit->done.set_value(true);
  return true;
}

bool GenerationLoop::drop_cancelled() {
  std::vector<std::shared_ptr<Generation>> dropped;
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(waiting_, [&](const auto& one) {
      if (!one->is_cancelled()) return false;
      dropped.push_back(one);
      return true;
    });
  }
  size_t n = dropped.size();
  for (const auto& run : runs_) {
    if (!run->generation->is_cancelled()) continue;
    leave(*run);
    ++n;
  }
  std::erase_if(runs_, [](const auto& run) { return run->is_over; });
  if (n > 0) count([&](LoopStats& stats) { stats.n_cancelled += n; });
  return n > 0;
}

bool GenerationLoop::admit() {
  bool did = false;
  while (pool_.has_place()) {
    std::shared_ptr<Generation> next;
    {
      const std::lock_guard lock(mutex_);
      if (waiting_.empty()) break;
      next = std::move(waiting_.front());
      waiting_.pop_front();
    }
    const Result<void> admitted = start(next);
    if (!admitted) fail(*next, admitted.error());
    did = true;
  }
  return did;
}

Result<void> GenerationLoop::start(const std::shared_ptr<Generation>& generation) {
  const GenerationRequest& request = generation->request();
  VARVE_CHECKED(check(request));
  VARVE_TRY(Sampler sampler, Sampler::create(request.sampling, engine_->model().vocab_size()));
  VARVE_TRY(std::optional<AnswerConstraint> constraint, constraint_of(request));
  const uint64_t stored_before = engine_->reuse().stored_tokens;
  VARVE_TRY(Session session, pool_.acquire(request.prompt));
  const int n_cached = session.n_reused();
  // Blocks from the store are the last ones of those that are known.
  const int beyond = std::max(0, session.sequence().restored_tokens() - n_cached);
  const auto stored = static_cast<int>(engine_->reuse().stored_tokens - stored_before);
  const int n_stored = std::clamp(stored - beyond, 0, n_cached);
  auto run = std::make_unique<Run>(generation, std::move(session), std::move(sampler), *tokenizer_);
  const int room = engine_->options().ctx_tokens - static_cast<int>(request.prompt.size()) + 1;
  run->constraint = std::move(constraint);
  run->n_left = std::min(request.max_tokens.value_or(room), room);
  if (run->constraint) run->n_left = std::min(run->n_left, AnswerConstraint::kMaxTokens);
  const double waited = seconds_between(generation->submitted_at, Clock::now());
  count([&](LoopStats& stats) {
    stats.n_prompt_tokens += request.prompt.size();
    stats.n_cached_tokens += static_cast<uint64_t>(n_cached);
    stats.n_restored_tokens = engine_->reuse().stored_tokens;
    stats.wait_seconds.observe(waited);
  });
  run->number = watch_.admit(run->session, static_cast<int>(request.prompt.size()), n_stored);
  generation->push(Admitted{n_cached});
  runs_.push_back(std::move(run));
  return {};
}

Result<std::optional<AnswerConstraint>> GenerationLoop::constraint_of(
    const GenerationRequest& request) const {
  if (!request.grammar) return std::optional<AnswerConstraint>();
  AnswerConstraintOptions options = {.vocab_size = engine_->model().vocab_size(),
                                     .end_ids = request.end_ids,
                                     .begins_behind = request.grammar_behind,
                                     .piece = [this](int32_t id) { return tokenizer_->piece(id); }};
  const auto eos = engine_->model().eos_ids();
  options.end_ids.insert(options.end_ids.end(), eos.begin(), eos.end());
  VARVE_TRY(AnswerConstraint constraint,
            AnswerConstraint::create(*request.grammar, std::move(options)));
  return std::optional(std::move(constraint));
}

Result<std::optional<int32_t>> GenerationLoop::draw(Run& run) {
  const std::span<const float> logits = run.session.logits();
  if (!run.constraint) return std::optional(run.sampler.sample(logits));
  return run.constraint->next(
      [&](std::span<const uint32_t> allowed) { return run.sampler.sample(logits, allowed); });
}

bool GenerationLoop::ends(const Run& run, int32_t id) const {
  const GenerationRequest& request = run.generation->request();
  const auto eos = engine_->model().eos_ids();
  if (!request.ignore_eos && std::find(eos.begin(), eos.end(), id) != eos.end()) return true;
  return std::find(request.end_ids.begin(), request.end_ids.end(), id) != request.end_ids.end();
}

bool GenerationLoop::sample(Run& run) {
  if (run.session.n_pending() > 0) return false;
  if (!run.has_read) {
    run.has_read = true;
    run.session.save_resume_point();
    if (run.n_left == 0) {
      finish(run, FinishReason::length);
      return true;
    }
  }
  // Whoever reads slowly holds up nobody else.
  if (!run.generation->has_room()) return false;
  const Result<std::optional<int32_t>> drawn = draw(run);
  if (!drawn) {
    leave(run);
    fail(*run.generation, drawn.error());
    return true;
  }
  if (!drawn->has_value()) {
    finish(run, FinishReason::end_token);
    return true;
  }
  const int32_t id = **drawn;
  const bool is_first = run.result.n_sampled++ == 0;
  const Clock::time_point now = Clock::now();
  const auto before = is_first ? run.generation->submitted_at : run.last_token_at;
  run.last_token_at = now;
  count([&](LoopStats& stats) {
    ++stats.n_sampled_tokens;
    (is_first ? stats.first_token_seconds : stats.token_seconds)
        .observe(seconds_between(before, now));
  });
  if (ends(run, id)) {
    finish(run, FinishReason::end_token);
  } else {
    take_token(run, id);
  }
  return true;
}

void GenerationLoop::take_token(Run& run, int32_t id) {
  const std::optional<int> n_top = run.generation->request().n_top_logprobs;
  SampledToken token{.id = id};
  if (n_top) token = with_logprobs(run.session.logits(), id, *n_top);
  const std::string text = run.decoder.push(id);
  run.result.text += text;
  run.held.push_back({std::move(token), run.result.text.size()});
  std::string certain = run.stops.push(text);
  hand_out(run, std::move(certain), run.stops.n_released());
  if (run.stops.met()) {
    finish(run, FinishReason::stop_string);
    return;
  }
  if (--run.n_left == 0) {
    finish(run, FinishReason::length);
    return;
  }
  // Within the context: n_left says so.
  if (const auto queued = run.session.enqueue({&id, 1}); !queued) {
    leave(run);
    fail(*run.generation, queued.error());
  }
}

void GenerationLoop::hand_out(Run& run, std::string text, size_t n_certain_bytes) {
  Piece piece{.text = std::move(text), .tokens = {}};
  while (!run.held.empty() && run.held.front().end_byte <= n_certain_bytes) {
    run.result.ids.push_back(run.held.front().token.id);
    run.n_text_bytes = run.held.front().end_byte;
    piece.tokens.push_back(std::move(run.held.front().token));
    run.held.pop_front();
  }
  if (piece.text.empty() && piece.tokens.empty()) return;
  run.generation->push(std::move(piece));
}

void GenerationLoop::finish(Run& run, FinishReason reason) {
  if (reason == FinishReason::stop_string) {
    run.result.stop_string = *run.stops.met();
    run.result.text.resize(run.n_text_bytes);
  } else {
    // What is left of an unfinished character may complete no stop string: those are whole.
    const std::string rest = run.decoder.finish();
    run.result.text += rest;
    std::string certain = run.stops.push(rest);
    certain += run.stops.finish();
    hand_out(run, std::move(certain), run.result.text.size());
  }
  run.result.reason = reason;
  leave(run);
  count([&](LoopStats& stats) {
    ++(reason == FinishReason::length ? stats.n_cut : stats.n_ended);
    stats.total_seconds.observe(seconds_between(run.generation->submitted_at, Clock::now()));
  });
  // Last: whoever hears of it may ask again at once, and finds what was read.
  count_sessions();
  run.generation->push(std::move(run.result));
}

// What was read by now is a place to go on from.
void GenerationLoop::leave(Run& run) {
  run.is_over = true;
  run.session.save_resume_point();
  watch_.see(run.number, run.session, true);
  pool_.release(std::move(run.session));
}

void GenerationLoop::fail(Generation& generation, Error error) {
  count([](LoopStats& stats) { ++stats.n_failed; });
  generation.push(Failed{std::move(error)});
}

void GenerationLoop::fail_all() {
  std::deque<std::shared_ptr<Generation>> waiting;
  std::deque<Visit> visits;
  {
    const std::lock_guard lock(mutex_);
    waiting.swap(waiting_);
    visits.swap(visits_);
  }
  for (Visit& visit : visits) visit.done.set_value(false);
  for (const auto& generation : waiting) fail(*generation, shutting_down());
  for (const auto& run : runs_) {
    if (run->is_over) continue;
    leave(*run);
    fail(*run->generation, shutting_down());
  }
  runs_.clear();
  count_sessions();
}

void GenerationLoop::count_sessions() {
  size_t n_waiting = 0;
  {
    const std::lock_guard lock(mutex_);
    n_waiting = waiting_.size();
  }
  const auto n_running =
      std::count_if(runs_.begin(), runs_.end(), [](const auto& run) { return !run->is_over; });
  count([&](LoopStats& stats) {
    stats.n_waiting = static_cast<int>(n_waiting);
    stats.n_running = static_cast<int>(n_running);
    stats.n_kept = pool_.n_kept();
    stats.n_kept_tokens = pool_.n_kept_tokens();
  });
}

}  // namespace varve::server
