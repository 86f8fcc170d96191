#include "kvcache/layout.h"

#include <algorithm>

namespace varve {
namespace {

size_t padded(size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

// Takes room at the end of a region that is being laid out, on a cache line.
size_t place(size_t& region, size_t bytes) {
  const size_t at = padded(region);
  region = at + bytes;
  return at;
}

Pool entry_pool(LayerKind kind) {
  return kind == LayerKind::csa ? Pool::csa : kind == LayerKind::hca ? Pool::hca : Pool::latent;
}

}  // namespace

CacheLayout::CacheLayout(const CacheShape& s, const PoolFormats& f) : shape(s), formats(f) {
  layers.reserve(shape.layers.size());
  for (const LayerShape& layer : shape.layers) {
    LayerLayout out;
    if (shape.window > 0) place_window(layer, out);
    if (layer.kind == LayerKind::kv) {
      place_keys_and_values(layer, out);
    } else if (layer.ratio > 0) {
      place_entries(layer, out);
    }
    layers.push_back(out);
  }
  hidden_detail_bytes = static_cast<size_t>(shape.hidden_dim) * sizeof(float);
  hidden_at = place(detail_bytes, hidden_detail_bytes);
  block_bytes = padded(block_bytes);
  detail_bytes = padded(detail_bytes);
}

void CacheLayout::place_window(const LayerShape& layer, LayerLayout& out) {
  out.window_bytes = row_bytes(formats.window, layer.row());
  const size_t ring = static_cast<size_t>(shape.window) * out.window_bytes;
  out.window_at = place(detail_bytes, ring);
  detail_pools[Pool::window] += ring;
}

ExactRows CacheLayout::place_exact(Pool pool, const RowShape& row, size_t sinks, size_t recent) {
  if (!formats.keeps_exact(pool)) return {};
  ExactRows out;
  out.row_bytes = varve::row_bytes(RowFormat::bf16, row);
  out.sinks_at = place(detail_bytes, sinks * out.row_bytes);
  out.recent_at = place(detail_bytes, recent * out.row_bytes);
  detail_pools[pool] += (sinks + recent) * out.row_bytes;
  return out;
}

void CacheLayout::place_keys_and_values(const LayerShape& layer, LayerLayout& out) {
  out.k_bytes = row_bytes(formats.k, layer.kv_row());
  out.v_bytes = row_bytes(formats.v, layer.kv_row());
  const auto n_heads = static_cast<size_t>(layer.n_kv_heads);
  const size_t rows = n_heads * kBlockTokens;
  const size_t sinks = n_heads * static_cast<size_t>(formats.sink_tokens);
  const size_t recent = rows * static_cast<size_t>(recent_blocks());
  out.k_exact = place_exact(Pool::k, layer.kv_row(), sinks, recent);
  out.v_exact = place_exact(Pool::v, layer.kv_row(), sinks, recent);
  if (layer.window == 0) {
    out.k_at = place(block_bytes, rows * out.k_bytes);
    out.v_at = place(block_bytes, rows * out.v_bytes);
    block_pools[Pool::k] += rows * out.k_bytes;
    block_pools[Pool::v] += rows * out.v_bytes;
    return;
  }
  const auto n_blocks = static_cast<size_t>(layer.ring_blocks());
  const size_t v_in_block = padded(rows * out.k_bytes);
  out.ring_block_bytes = padded(v_in_block + rows * out.v_bytes);
  out.k_at = place(detail_bytes, n_blocks * out.ring_block_bytes);
  out.v_at = out.k_at + v_in_block;
  detail_pools[Pool::k] += n_blocks * rows * out.k_bytes;
  detail_pools[Pool::v] += n_blocks * rows * out.v_bytes;
}

void CacheLayout::place_entries(const LayerShape& layer, LayerLayout& out) {
  const auto n_entries = static_cast<size_t>(layer.entries_per_block());
  out.entry_bytes = row_bytes(formats.entries(layer.kind), layer.row());
  out.entries_at = place(block_bytes, n_entries * out.entry_bytes);
  block_pools[entry_pool(layer.kind)] += n_entries * out.entry_bytes;
  if (!layer.is_compressed()) {
    out.latent_exact =
        place_exact(Pool::latent, layer.row(), static_cast<size_t>(formats.sink_tokens),
                    static_cast<size_t>(formats.recent_tokens));
  }
  if (layer.is_picked()) {
    out.index_bytes = row_bytes(formats.index, layer.index_row());
    out.index_at = place(block_bytes, n_entries * out.index_bytes);
    block_pools[Pool::index] += n_entries * out.index_bytes;
  }
  if (!layer.is_compressed()) return;
  const auto ring_tokens = static_cast<size_t>(layer.state_tokens());
  const auto place_state = [&](int width) {
    const size_t ring = ring_tokens * 2 * static_cast<size_t>(width) * sizeof(float);
    state_detail_bytes += ring;
    return place(detail_bytes, ring);
  };
  out.state_at = place_state(layer.state_width());
  if (layer.kind == LayerKind::csa) out.index_state_at = place_state(layer.index_state_width());
}

std::vector<ByteRange> CacheLayout::detail_ranges(int n_tokens) const {
  std::vector<ByteRange> kept;
  size_t at = 0;
  const auto leave_out = [&](size_t begin, size_t n_bytes) {
    if (n_bytes == 0) return;
    if (begin > at) kept.push_back({at, begin - at});
    at = begin + n_bytes;
  };
  // Rings lie in the order of layers. Of `capacity` rows those of the last n_needed tokens stay.
  const auto leave_out_rows = [&](size_t ring_at, int capacity, int width, int n_needed) {
    const size_t row_bytes = 2 * static_cast<size_t>(width) * sizeof(float);
    const int first = n_tokens % capacity, end = first + capacity - n_needed;
    const auto bytes = [&](int n) { return static_cast<size_t>(n) * row_bytes; };
    leave_out(ring_at, bytes(std::max(0, end - capacity)));
    leave_out(ring_at + bytes(first), bytes(std::min(end, capacity) - first));
  };
  for (size_t l = 0; l < layers.size(); ++l) {
    const LayerShape& layer = shape.layers[l];
    if (!layer.is_compressed()) continue;
    // What is not closed yet; where entries overlap, what the last one was made of too.
    const int capacity = layer.state_tokens();
    const int n_needed = std::min(n_tokens, n_tokens % layer.ratio + capacity - layer.ratio);
    leave_out_rows(layers[l].state_at, capacity, layer.state_width(), n_needed);
    if (layer.index_state_width() == 0) continue;
    leave_out_rows(layers[l].index_state_at, capacity, layer.index_state_width(), n_needed);
  }
  if (at < detail_bytes) kept.push_back({at, detail_bytes - at});
  return kept;
}

std::optional<int> CacheLayout::replay_tokens() const {
  int n = 0;
  for (size_t l = 0; l < layers.size(); ++l) {
    const LayerLayout& at = layers[l];
    if (at.k_exact.row_bytes + at.v_exact.row_bytes + at.latent_exact.row_bytes > 0) {
      return std::nullopt;
    }
    const LayerShape& layer = shape.layers[l];
    n += std::max(
        {layer.window, layer.kind == LayerKind::kv ? 0 : shape.window, layer.state_tokens()});
  }
  return n;
}

}  // namespace varve
