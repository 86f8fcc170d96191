// Generation: sample, hand out, read, until something ends it.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "engine/sampler.h"

namespace varve {

enum class StopReason {
  length,     // max_tokens, or the context is full
  end_token,  // the model's EOS or one of stop_ids; it is not handed out
  cancelled,  // the callback said so
};

struct GenerateOptions {
  int max_tokens = 128;
  std::vector<int32_t> stop_ids = {};  // besides the model's EOS
  bool ignore_eos = false;
  /// Draws in place of the sampler, where it is set; nothing: the text is over, as by an end token.
  std::function<Result<std::optional<int32_t>>(std::span<const float> logits)> draw = {};
};

struct GenerateResult {
  StopReason reason = StopReason::length;
  int n_tokens = 0;  // handed out
};

/// Continues `session`, which has logits. on_token sees every token and returns false to stop. A
/// token is read only when another one is wanted after it: the last one handed out is not, unless
/// an end token came behind it.
Result<GenerateResult> generate(Session& session, Engine& engine, Sampler& sampler,
                                const GenerateOptions& options,
                                const std::function<bool(int32_t)>& on_token);

}  // namespace varve
