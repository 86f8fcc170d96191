// Runs ids through an engine and keeps the logits of every position.
#pragma once

#include <memory>
#include <vector>

#include "engine/engine.h"

namespace varve::testing_support {

std::unique_ptr<Engine> engine_or_fail(std::shared_ptr<const Model> model,
                                       const EngineOptions& options);
Session session_or_fail(Engine& engine);

/// logits [ids.size(), vocab_size] of every position, through a fresh engine with these options
/// (ctx_tokens is set to fit).
std::vector<float> all_logits(std::shared_ptr<const Model> model, const std::vector<int32_t>& ids,
                              EngineOptions options, Probe* probe = nullptr);

/// The same, appended to what `out` holds, for tokens that `session` has enqueued; the engine must
/// have no other session with waiting tokens.
void step_all_logits(Engine& engine, Session& session, std::vector<float>& out);

}  // namespace varve::testing_support
