#include "support/reference_run.h"

#include <algorithm>
#include <stdexcept>

namespace varve::testing_support {

std::unique_ptr<Engine> engine_or_fail(std::shared_ptr<const Model> model,
                                       const EngineOptions& options) {
  auto engine = Engine::create(std::move(model), options);
  if (!engine) throw std::runtime_error(engine.error().message);
  return std::move(*engine);
}

Session session_or_fail(Engine& engine) {
  auto session = engine.new_session();
  if (!session) throw std::runtime_error(session.error().message);
  return std::move(*session);
}

void step_all_logits(Engine& engine, Session& session, std::vector<float>& out) {
  const auto vocab = static_cast<size_t>(engine.model().vocab_size());
  while (session.n_pending() > 0) {
    const int n = engine.step();
    for (int begin = 0; begin < n; begin += kMaxLogitRows) {
      std::vector<int32_t> rows;
      for (int row = begin; row < std::min(n, begin + kMaxLogitRows); ++row) rows.push_back(row);
      const size_t at = out.size();
      out.resize(at + rows.size() * vocab);
      engine.logits_of_rows(rows, out.data() + at);
    }
  }
}

std::vector<float> all_logits(std::shared_ptr<const Model> model, const std::vector<int32_t>& ids,
                              EngineOptions options, Probe* probe) {
  options.ctx_tokens = static_cast<int>(ids.size());
  const auto engine = engine_or_fail(std::move(model), options);
  engine->set_probe(probe);
  Session session = session_or_fail(*engine);
  const auto queued = session.enqueue(ids);
  if (!queued) throw std::runtime_error(queued.error().message);
  std::vector<float> logits;
  step_all_logits(*engine, session, logits);
  return logits;
}

}  // namespace varve::testing_support
