#include "engine/generate.h"

#include <algorithm>

namespace varve {

Result<GenerateResult> generate(Session& session, Engine& engine, Sampler& sampler,
                                const GenerateOptions& options,
                                const std::function<bool(int32_t)>& on_token) {
  if (session.logits().empty()) {
    return usage_error("nothing to continue: the prompt has no tokens");
  }
  const auto eos = engine.model().eos_ids();
  const auto ends = [&](int32_t id) {
    if (!options.ignore_eos && std::find(eos.begin(), eos.end(), id) != eos.end()) return true;
    return std::find(options.stop_ids.begin(), options.stop_ids.end(), id) !=
           options.stop_ids.end();
  };
  GenerateResult result;
  while (result.n_tokens < options.max_tokens) {
    int32_t id = 0;
    bool is_over = false;
    if (options.draw) {
      VARVE_TRY(const std::optional<int32_t> drawn, options.draw(session.logits()));
      is_over = !drawn.has_value();
      id = drawn.value_or(0);
    } else {
      id = sampler.sample(session.logits());
    }
    if (is_over || ends(id)) {
      result.reason = StopReason::end_token;
      return result;
    }
    ++result.n_tokens;
    if (!on_token(id)) {
      result.reason = StopReason::cancelled;
      return result;
    }
    if (result.n_tokens == options.max_tokens ||
        session.n_tokens() == engine.options().ctx_tokens) {
      break;
    }
    VARVE_CHECKED(session.append({&id, 1}));
  }
  return result;
}

}  // namespace varve
