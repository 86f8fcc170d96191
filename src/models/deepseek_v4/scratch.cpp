#include <algorithm>

#include "models/deepseek_v4/runner.h"
#include "models/row.h"

namespace varve::deepseek_v4 {

Scratch::Scratch(ArenaBuilder& arena, const Config& c, const RunnerOptions& options) {
  const int n = options.max_tokens;
  const auto floats = [&](int rows, int width) {
    return arena.take<float>("scratch", at(rows, width));
  };
  const auto ints = [&](int rows, int width) {
    return arena.take<int32_t>("scratch", at(rows, width));
  };
  const bool any_compressed = std::any_of(c.layers.begin(), c.layers.end(), [](const auto& l) {
    return l.attention != LayerKind::swa;
  });
  const bool any_csa = std::any_of(c.layers.begin(), c.layers.end(),
                                   [](const auto& l) { return l.attention == LayerKind::csa; });
  const int hc = c.hc_mult;
  streams = floats(n, hc * c.hidden_size);
  mix = floats(n, (2 + hc) * hc);
  pre = floats(n, hc);
  post = floats(n, hc);
  comb = floats(n, hc * hc);
  x = floats(n, c.hidden_size);
  y = floats(n, c.hidden_size);

  qr = floats(n, c.q_lora_rank);
  q = floats(n, c.n_heads * c.head_dim);
  kv = floats(n, c.head_dim);
  window_rows = arena.take<std::byte>(
      "scratch",
      static_cast<size_t>(n) * row_bytes(options.formats.window, {c.head_dim, c.rope_dim, false}));
  inputs = floats(n, any_compressed ? 2 * (any_csa ? 2 : 1) * c.head_dim : 0);
  index_inputs = floats(n, any_csa ? 4 * c.index_head_dim : 0);
  index_q = floats(n, any_csa ? c.index_n_heads * c.index_head_dim : 0);
  index_weights = floats(n, any_csa ? c.index_n_heads : 0);
  picks = ints(n, any_csa ? c.index_topk : 0);
  counts = ints(n, 1);
  grouped = floats(n, c.o_groups * c.o_lora_rank);

  router = floats(n, c.n_experts);
  for (int table = 0; table < 2; ++table) {
    cos[table] = floats(n, c.rope_dim / 2);
    sin[table] = floats(n, c.rope_dim / 2);
  }
}

}  // namespace varve::deepseek_v4
