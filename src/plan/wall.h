// The wall (law 2): the memory that a run may take, and what fits inside it. A run is held against
// it before its weights are read and before its arena exists.
#pragma once

#include <string>

#include "engine/engine.h"
#include "plan/process.h"

namespace varve {

/// Kept back of what is free where nobody names the memory: for what others take meanwhile, and for
/// the kernel's own tables. The smaller of this and an eighth of what is free.
inline constexpr size_t kWallMargin = size_t{64} << 20;

struct Wall {
  size_t memory_bytes = 0;
  bool is_named = false;    // by --memory; otherwise it is what is free, less margin_bytes
  size_t margin_bytes = 0;  // kept back

  /// "--memory 8G" or "auto". Errors (usage): see parse_bytes.
  static Result<Wall> parse(const std::string& memory);
};

/// `options` with the arena's budget that the wall leaves beside weights and process, or their own
/// where that is less. Nothing where the wall leaves none.
std::optional<EngineOptions> options_within(const Model& model, EngineOptions options,
                                            const ProcessBytes& process, size_t memory_bytes);

/// The same for a run that is to start now, with its chunk chosen. Errors (usage): options out of
/// range; a run that does not fit, with what it needs by part and the nearest settings that fit, of
/// which no context is below least_ctx_tokens.
Result<EngineOptions> fit_within(const Model& model, const EngineOptions& options,
                                 const ProcessBytes& process, const Wall& wall,
                                 int least_ctx_tokens);

}  // namespace varve
