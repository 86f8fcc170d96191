// Logits at many positions of a text, and what follows from one row of them.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "engine/engine.h"

namespace varve {

/// log(sum of exp(x)) in f64. Infinite or NaN where a logit is.
double log_sum_exp(std::span<const float> logits);

/// -log softmax(logits)[id], in nats.
double negative_log_likelihood(std::span<const float> logits, int32_t id);

/// How many ids come before `id` in descending order of logits, the lower id first of equals: 0 is
/// the argmax.
int rank_of(std::span<const float> logits, int32_t id);

/// Rows of logits [n_rows, vocab_size] of the positions from `first` on; valid during the call.
using LogitSink = std::function<Result<void>(int first, int n_rows, const float* logits)>;

/// Reads `ids` after what the session holds, in steps of the engine's chunk, and hands out the
/// logits of every position from `first` on, in order, at most kMaxLogitRows at a time. No other
/// session of the engine may have waiting tokens. Errors: as of Session::enqueue, or the sink's.
Result<void> read_with_logits(Engine& engine, Session& session, std::span<const int32_t> ids,
                              int first, const LogitSink& sink);

}  // namespace varve
