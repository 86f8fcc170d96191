#include "plan/trial.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "base/memory.h"
#include "base/rng.h"
#include "engine/sampler.h"

namespace varve {
namespace {

// Of weights that were copied, what the process holds counts too.
size_t planned_private_bytes(const MemoryPlan& memory, const ProcessBytes& process) {
  return memory.arena_bytes + memory.loaded_bytes + process.tables + process.tokenizer +
         process.heap;
}

std::vector<int32_t> random_ids(int n, int vocab_size) {
  Rng rng(1);
  std::vector<int32_t> ids(static_cast<size_t>(n));
  for (int32_t& id : ids) id = static_cast<int32_t>(rng.below(static_cast<uint64_t>(vocab_size)));
  return ids;
}

// Of the first sequence, so many that each thread has had work of every kind, also where a model is
// small.
constexpr int kFirstChunks = 4;

// To the end of the context: seeded rows, then n_read tokens in chunks, then single tokens with a
// resume point after each.
Result<void> fill(Session& session, const EngineOptions& options, int n_read, int vocab_size) {
  const int n_single = std::min(options.resume_points, options.ctx_tokens - 1);
  n_read = std::min(n_read, options.ctx_tokens - n_single);
  const int n_seeded = options.ctx_tokens - n_single - n_read;
  if (n_seeded > 0) VARVE_CHECKED(session.fill_seeded(n_seeded, 1));
  VARVE_CHECKED(session.append(random_ids(n_read, vocab_size)));
  for (int i = 0; i < n_single; ++i) {
    VARVE_CHECKED(session.append(random_ids(1, vocab_size)));
    session.save_resume_point();
  }
  return {};
}

}  // namespace

Result<Trial> try_out(const std::shared_ptr<const Model>& model, EngineOptions options,
                      const ProcessBytes& process) {
  // Nothing is cut short: a step reads a whole chunk.
  options.resume_interval_tokens = std::numeric_limits<int>::max();
  VARVE_TRY(const std::unique_ptr<Engine> engine, Engine::create(model, options));
  VARVE_TRY(Sampler sampler, Sampler::create({}, model->vocab_size()));
  std::vector<Session> sessions;
  for (int i = 0; i < options.n_sessions; ++i) {
    VARVE_TRY(Session session, engine->new_session());
    const int n_chunks = i == 0 ? kFirstChunks : 1;
    VARVE_CHECKED(
        fill(session, options, n_chunks * engine->memory().chunk_tokens, model->vocab_size()));
    sampler.sample(session.logits());
    sessions.push_back(std::move(session));
  }
  return Trial{planned_private_bytes(engine->memory(), process), private_resident_bytes()};
}

}  // namespace varve
