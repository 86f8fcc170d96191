// All that a run takes of memory, part by part, before anything of it is taken: the engine's own
// plan, and what lies beside its arena.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "plan/machine.h"

namespace varve {

/// Of the process beside weights and arena: code, tokenizer, thread stacks, buffers.
inline constexpr size_t kProcessBytes = size_t{64} << 20;

struct FootprintPart {
  std::string name;
  size_t bytes = 0;
  Known known = Known::exact;
};

struct Footprint {
  std::vector<FootprintPart> parts;
  MemoryPlan memory;

  size_t total_bytes() const { return memory.total_bytes() + kProcessBytes; }
};

/// Of a run that may take memory_bytes, weights and all: where the chunk is left open and the
/// largest does not fit, a smaller one is chosen. Errors: as of Engine::plan().
Result<Footprint> footprint(const Model& model, const EngineOptions& options, size_t memory_bytes);

/// The largest context, up to the model's own, of which a run fits: in whole blocks, or all of it.
/// 0: none.
int largest_context_within(const Model& model, EngineOptions options, size_t memory_bytes);

}  // namespace varve
