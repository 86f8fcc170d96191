// The ladder of row formats: what each choice of formats for a model's pools takes and what it
// costs in quality and speed, the best choices marked.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "eval/chunks.h"
#include "eval/decode_speed.h"
#include "eval/divergence.h"
#include "eval/needle.h"

namespace varve {

/// Exact bytes of cache rows that one sequence of n_tokens takes, over n_tokens: blocks in use and
/// what the detail slot keeps of windows. States and hidden states, the same in all formats, are
/// left out.
double cache_bytes_per_token(const CacheLayout& layout, int n_tokens);

/// What --kv takes to get these formats: "all=bf16", "k=q8_0,v=q4_0", "all=bf16,csa=native".
std::string kv_spec(const CacheLayout& layout);

/// The choices worth comparing for a model of this shape, made of `formats`:
///   each format in every pool that takes it, bf16 in the others;
///   of keys and values, pairs whose values are smaller than the keys, down to half of them (keys
///   are what a cache loses most by); of formats of one size the first stands for all;
///   of other pools, where there are several, each format smaller than bf16 in one pool alone.
/// Formats larger than bf16 are left out. Pools that the model lacks are bf16 throughout; what
/// PoolFormats says besides formats is as in `like`.
std::vector<PoolFormats> ladder_candidates(const CacheShape& shape,
                                           std::span<const RowFormat> formats,
                                           const PoolFormats& like = {});

/// Of points that are to be low in both: those that no other point is below or equal to in both and
/// below in one. Equal points are on the front together.
struct ParetoPoint {
  double bytes = 0;
  double loss = 0;
};
std::vector<bool> pareto_front(std::span<const ParetoPoint> points);

struct LadderRung {
  PoolFormats formats;
  std::string kv;  // see kv_spec
  double bytes_per_token = 0;
  DivergenceSummary divergence;
  Estimate needle_right;
  Estimate needle_probability;
  double decode_tokens_per_s = 0;
  bool is_on_front = false;  // bytes against mean divergence
};

struct LadderOptions {
  EngineOptions engine;  // the reference's; formats as of the reference, ctx_tokens of a chunk
  std::vector<PoolFormats> candidates;
  DecodeSpeedOptions decode;
};

/// What engines side by side take at most. Errors (usage): as of plan_comparison.
Result<size_t> ladder_arena_bytes(const Model& model, const LadderOptions& options);

/// Told how far the ladder is: what is under way, what is done of it and how much it is in all.
using LadderProgress = std::function<void(std::string_view what, double done, double total)>;

/// Rungs by ascending bytes. As many candidates as memory allows are compared side by side; the
/// reference reads the text once for each such group.
Result<std::vector<LadderRung>> measure_ladder(const std::shared_ptr<const Model>& model,
                                               const LadderOptions& options, const TextChunks& text,
                                               std::span<const NeedleDocument> documents,
                                               const LadderProgress& progress);

}  // namespace varve
