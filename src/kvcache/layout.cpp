#include "kvcache/layout.h"

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

}  // namespace

CacheLayout::CacheLayout(const CacheShape& s, const PoolFormats& f) : shape(s), formats(f) {
  layers.reserve(shape.layers.size());
  for (const LayerShape& layer : shape.layers) {
    LayerLayout out;
    out.window_bytes = row_bytes(formats.window, layer.row());
    const size_t window_ring = static_cast<size_t>(shape.window) * out.window_bytes;
    out.window_at = place(detail_bytes, window_ring);
    window_detail_bytes += window_ring;

    if (layer.ratio > 0) {
      const bool csa = layer.kind == LayerKind::csa;
      const auto n_entries = static_cast<size_t>(layer.entries_per_block());
      out.entry_bytes = row_bytes(formats.entries(layer.kind), layer.row());
      out.entries_at = place(block_bytes, n_entries * out.entry_bytes);
      (csa ? csa_block_bytes : hca_block_bytes) += n_entries * out.entry_bytes;

      const auto ring_tokens = static_cast<size_t>(layer.state_tokens());
      const size_t ring =
          ring_tokens * 2 * static_cast<size_t>(layer.state_width()) * sizeof(float);
      out.state_at = place(detail_bytes, ring);
      state_detail_bytes += ring;

      if (csa) {
        out.index_bytes = row_bytes(formats.index, layer.index_row());
        out.index_at = place(block_bytes, n_entries * out.index_bytes);
        index_block_bytes += n_entries * out.index_bytes;
        const size_t index_ring =
            ring_tokens * 2 * static_cast<size_t>(layer.index_state_width()) * sizeof(float);
        out.index_state_at = place(detail_bytes, index_ring);
        state_detail_bytes += index_ring;
      }
    }
    layers.push_back(out);
  }
  hidden_detail_bytes = static_cast<size_t>(shape.hidden_dim) * sizeof(float);
  hidden_at = place(detail_bytes, hidden_detail_bytes);
  block_bytes = padded(block_bytes);
  detail_bytes = padded(detail_bytes);
}

}  // namespace varve
