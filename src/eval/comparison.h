// Caches of other row formats held against a reference cache: the same weights, products and
// kernels in one process, engines that read the same text in step. No row of logits is stored
// longer than it takes to compare it.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "eval/chunks.h"
#include "eval/divergence.h"

namespace varve {

/// What a comparison takes beside its engines: rows of logits of one engine, and reference rows.
size_t comparison_bytes(int vocab_size);

/// The most bytes that engines may take together now: what `budget_bytes` says, where it is not 0,
/// and no more than the machine has beside the model.
size_t room_for_engines(const MemoryPlan& plan, size_t budget_bytes);

/// Engines of a comparison; the first is the reference. All take the chunk of the first one's plan.
struct ComparisonPlan {
  std::vector<EngineOptions> options;
  size_t n_that_fit = 0;   // of them, from the first on, together
  size_t arena_bytes = 0;  // of those, with comparison_bytes()
};

/// `reference` and one engine for each of `tests`, which differ in formats alone. Errors (usage):
/// of Engine::plan, and where not even the reference and one test fit.
Result<ComparisonPlan> plan_comparison(const Model& model, const EngineOptions& reference,
                                       std::span<const PoolFormats> tests);

/// Compares at every position that has a next token in its chunk; result i is that of tests[i].
/// Each engine has to have room for one chunk and no session alive. `on_tokens` hears how many
/// tokens all engines have read.
Result<std::vector<DivergenceSummary>> compare_caches(
    Engine& reference, std::span<const std::unique_ptr<Engine>> tests, const TextChunks& text,
    const std::function<void(size_t)>& on_tokens);

}  // namespace varve
