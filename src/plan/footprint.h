// All that a run takes of memory, part by part, before anything of it is taken: the engine's own
// plan, and what lies beside its arena.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "plan/machine.h"
#include "plan/process.h"

namespace varve {

struct FootprintPart {
  std::string name;
  size_t bytes = 0;
  Known known = Known::exact;
};

struct Footprint {
  std::vector<FootprintPart> parts;
  MemoryPlan memory;
  ProcessBytes process;

  size_t total_bytes() const { return memory.total_bytes() + process.total(); }
};

/// Of a run that may take memory_bytes, weights and all: where the chunk is left open and the
/// largest does not fit, a smaller one is chosen. Errors: as of Engine::plan().
Result<Footprint> footprint(const Model& model, const EngineOptions& options,
                            const ProcessBytes& process, size_t memory_bytes);

/// The largest context, up to the model's own, of which a run fits: in whole blocks, or all of it.
/// 0: none.
int largest_context_within(const Model& model, EngineOptions options, const ProcessBytes& process,
                           size_t memory_bytes);

}  // namespace varve
