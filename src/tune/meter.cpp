#include "tune/meter.h"

#include <algorithm>
#include <limits>

#include "base/memory.h"
#include "engine/speed.h"

namespace varve {
namespace {

// Of a visit with the least effort; each more doubles them.
constexpr int kLeastPrefill = 128, kLeastDecode = 4;

// Read before a visit is timed: other settings were here in between.
constexpr int kWarmingTokens = 2;

constexpr uint64_t kSeed = 2;

// Seconds by part, of one token.
PartTimes per_token(const Timing& timing, double n_tokens) {
  PartTimes parts = timing.parts;
  for (double& seconds : parts.seconds) seconds /= n_tokens;
  return parts;
}

}  // namespace

int depth_before(const Job& job, int ctx_tokens) {
  return std::max(0, ctx_tokens - std::max(job.prefill_tokens, job.decode_tokens + kWarmingTokens));
}

Job visit_of(const Job& job, int chunk_tokens, int effort) {
  return {std::min(job.prefill_tokens, std::max(chunk_tokens, kLeastPrefill << effort)),
          std::min(job.decode_tokens, kLeastDecode << effort)};
}

Meter::Meter(std::shared_ptr<const Model> model, const Space& space,
             const MeterConditions& conditions)
    : model_(std::move(model)),
      space_(space),
      conditions_(conditions),
      private_before_(private_resident_bytes()) {}

ProcessBytes Meter::process_of(const EngineOptions& options) const {
  return process_bytes(*model_, conditions_.tokenizer, options.n_threads);
}

bool Meter::fits(const Setting& setting) const {
  const auto planned = planned_bytes(setting);
  return planned && *planned <= conditions_.wall.memory_bytes;
}

Result<size_t> Meter::planned_bytes(const Setting& setting) const {
  const EngineOptions options = space_.options(setting, conditions_.base);
  VARVE_TRY(const MemoryPlan plan, Engine::plan(*model_, options));
  return plan.total_bytes() + process_of(options).total();
}

// As if no other engine stood.
Result<size_t> Meter::measured_bytes(const Stand& stand) const {
  const ProcessBytes process = process_of(stand.engine->options());
  const size_t of_files = process.program + process.page_tables +
                          (conditions_.weights_are_copied ? 0 : model_->weight_bytes());
  const size_t now = private_resident_bytes();
  const size_t own = now > stand.held_before ? now - stand.held_before : 0;
  const size_t bytes = of_files + private_before_ + own, memory = conditions_.wall.memory_bytes;
  // The start is what a run does whether or not it is searched for.
  if (bytes <= memory || stand.setting == space_.start) return bytes;
  return usage_error("it took {} bytes, {} more than there are", bytes, bytes - memory);
}

void Meter::make_room(size_t arena_bytes) {
  const size_t beside =
      model_->weight_bytes() + model_->vector_bytes() + process_of(conditions_.base).total();
  const size_t memory = conditions_.wall.memory_bytes;
  const size_t room = memory > beside ? memory - beside : 0;
  const auto is_full = [&] {
    size_t taken = arena_bytes;
    for (const Stand& stand : standing_) taken += stand.engine->memory().arena_bytes;
    return taken > room || 2 * arena_bytes > available_memory_bytes();
  };
  while (!standing_.empty() && is_full()) standing_.erase(standing_.begin());
}

Result<Meter::Stand> Meter::set_up(const Setting& setting) {
  EngineOptions options = space_.options(setting, conditions_.base);
  // Nothing is cut short: a step reads a whole chunk.
  options.resume_interval_tokens = std::numeric_limits<int>::max();
  VARVE_TRY(const MemoryPlan plan, Engine::plan(*model_, options));
  make_room(plan.arena_bytes);
  Stand stand;
  stand.setting = setting;
  const auto create = [&] {
    stand.held_before = private_resident_bytes();
    return Engine::create(model_, options);
  };
  auto engine = create();
  if (!engine && !standing_.empty()) {  // others may have taken what it needs
    standing_.clear();
    engine = create();
  }
  if (!engine) return tl::unexpected<Error>(std::move(engine).error());
  stand.engine = std::move(*engine);
  const int depth = depth_before(conditions_.job, options.ctx_tokens);
  for (int i = 0; i < options.n_sessions; ++i) {
    VARVE_TRY(Session session, stand.engine->new_session());
    VARVE_CHECKED(reach_depth(session, model_->vocab_size(), depth, Fill::seeded));
    stand.sessions.push_back(std::move(session));
  }
  return stand;
}

Result<Meter::Stand*> Meter::stand_of(const Setting& setting) {
  const auto known = std::find_if(standing_.begin(), standing_.end(),
                                  [&](const Stand& stand) { return stand.setting == setting; });
  if (known != standing_.end()) {
    std::rotate(known, known + 1, standing_.end());
  } else {
    VARVE_TRY(Stand stand, set_up(setting));
    standing_.push_back(std::move(stand));
  }
  return &standing_.back();
}

Result<Sample> Meter::measure(const Setting& setting, int effort) {
  VARVE_TRY(Stand* const stand, stand_of(setting));
  Engine& engine = *stand->engine;
  const int vocab = model_->vocab_size();
  const Job visit = visit_of(conditions_.job, engine.memory().chunk_tokens, effort);
  VARVE_CHECKED(time_decode(engine, stand->sessions, random_ids(kWarmingTokens, vocab, kSeed)));
  VARVE_TRY(const Timing prefill,
            time_prefill(engine, stand->sessions, random_ids(visit.prefill_tokens, vocab, kSeed)));
  VARVE_TRY(const Timing decode,
            time_decode(engine, stand->sessions, random_ids(visit.decode_tokens, vocab, kSeed)));
  if (stand->peak_bytes == 0) {
    VARVE_TRY(stand->peak_bytes, measured_bytes(*stand));
  }
  const auto n_sessions = static_cast<double>(stand->sessions.size());
  const double n_read = n_sessions * visit.prefill_tokens;
  const double n_decoded = n_sessions * visit.decode_tokens;
  return Sample{.prefill_seconds = prefill.seconds / n_read,
                .decode_seconds = decode.seconds / n_decoded,
                .prefill_parts = per_token(prefill, n_read),
                .decode_parts = per_token(decode, n_decoded),
                .peak_bytes = stand->peak_bytes};
}

}  // namespace varve
