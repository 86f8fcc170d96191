// Perplexity of a text under a model: how many tokens it hesitates between, so to speak.
#pragma once

#include <functional>

#include "engine/engine.h"
#include "eval/chunks.h"
#include "eval/statistics.h"

namespace varve {

struct Perplexity {
  size_t n_scored = 0;  // tokens
  Estimate nll;         // nats a token
  Estimate perplexity;  // exp of it; the error to first order
};

/// Of tokens whose negative log-likelihoods these are.
Perplexity perplexity_of(std::span<const double> nlls);

/// Reads each chunk from an empty cache and scores its second half, tokens [n / 2, n), so that each
/// scored token has at least half a chunk to go by. `on_tokens` hears how many tokens have been
/// read. The engine has to have room for one chunk and no session alive.
Result<Perplexity> measure_perplexity(Engine& engine, const TextChunks& text,
                                      const std::function<void(size_t)>& on_tokens);

}  // namespace varve
