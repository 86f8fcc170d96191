// A plan put to the test: the run is set up, its caches are filled to the last token, and what the
// process then holds is held against what was planned.
#pragma once

#include <memory>

#include "engine/engine.h"
#include "plan/process.h"

namespace varve {

/// Of memory that is no page of a file, which the system could take back: the arena, small tensors,
/// tables, heap and stacks; not mapped weights, not the program.
struct Trial {
  size_t planned_bytes = 0;
  size_t measured_bytes = 0;  // resident at the end; nothing of it is given back before

  double excess() const {
    return static_cast<double>(measured_bytes) / static_cast<double>(planned_bytes) - 1;
  }
};

/// Fills every sequence with seeded rows, then reads a chunk and decodes a token at the end of
/// each and samples, with resume points taken on the way. Errors: as of Engine::create().
Result<Trial> try_out(const std::shared_ptr<const Model>& model, EngineOptions options,
                      const ProcessBytes& process);

}  // namespace varve
