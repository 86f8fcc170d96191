// Ways to fit a run into memory, one change each, with what each costs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "plan/footprint.h"

namespace varve {

/// What a cache's formats cost in quality, measured on SmolLM2 (docs/KV_QUANTIZATION.md): of
/// another model an indication.
struct Quality {
  double mean_kld = 0;  // nats
};
/// Nothing where it was not measured.
std::optional<Quality> quality_of(const CacheLayout& layout);

/// Row formats that take less than `formats` do, from the finest, and the flags that ask for them.
struct SmallerFormats {
  std::string flags;
  PoolFormats formats;
};
std::vector<SmallerFormats> smaller_formats(const Model& model, const PoolFormats& formats);

struct Way {
  std::string flags;  // that are changed; empty: as asked
  EngineOptions options;
  Footprint footprint;
  int largest_ctx = 0;  // within the memory, up to the model's own
  std::optional<Quality> quality;
};

/// The run as asked, then the others, by how little they change: row formats from the finest, a
/// smaller chunk, one sequence. Errors: as of Engine::plan().
Result<std::vector<Way>> ways_to_fit(const Model& model, const EngineOptions& options,
                                     const ProcessBytes& process, size_t memory_bytes);

}  // namespace varve
