#include "attention/compressor.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace varve {
namespace {

constexpr int kMaxSlots = 2 * kBlockTokens;
constexpr int kMaxPairs = 512;  // of rotated values; a model is checked for it when it is loaded

float* state_row(const Segment& segment, int layer, CompressedRow row, int pos) {
  return row == CompressedRow::entry ? segment.sequence->state_row(layer, pos)
                                     : segment.sequence->index_state_row(layer, pos);
}

}  // namespace

void add_position_bias(Exec& exec, const Compressor& compressor, const Segment& segment,
                       float* inputs) {
  const int width = compressor.width();
  exec.parallel(segment.n, [&](int t, int) {
    const int phase = (segment.start + t) % compressor.ratio;
    float* const scores = inputs + static_cast<size_t>(2 * t + 1) * static_cast<size_t>(width);
    exec.ops().add(scores, compressor.position_bias + static_cast<size_t>(phase * width), width);
  });
}

void close_entries(Exec& exec, const Compressor& c, const Segment& segment, int layer,
                   CompressedRow row, const float* inputs, const Rope& rope, float rms_eps) {
  const int first = segment.start / c.ratio;
  const int end = (segment.start + segment.n) / c.ratio;
  const int width = c.width();
  const CacheLayout& layout = segment.sequence->layout();
  const LayerShape& shape = layout.shape.layers[static_cast<size_t>(layer)];
  const bool is_entry = row == CompressedRow::entry;
  const RowShape row_shape = is_entry ? shape.row() : shape.index_row();
  const RowFormat format = is_entry ? layout.formats.entries(shape.kind) : layout.formats.index;
  exec.parallel(end - first, [&](int item, int thread) {
    const int w = first + item;
    if (segment.sequence->is_restored(layer, w)) return;
    std::array<const float*, kMaxSlots> kv;
    std::array<const float*, kMaxSlots> score;
    int n_slots = 0;
    const auto take = [&](int pos, int half) {
      const float* const at =
          pos >= segment.start
              ? inputs + static_cast<size_t>(pos - segment.start) * 2 * static_cast<size_t>(width)
              : state_row(segment, layer, row, pos);
      kv[static_cast<size_t>(n_slots)] = at + half * c.dim;
      score[static_cast<size_t>(n_slots)] = at + width + half * c.dim;
      ++n_slots;
    };
    // The first entry has no window before it: those slots would weigh exactly 0.
    if (c.overlap && w > 0) {
      for (int pos = (w - 1) * c.ratio; pos < w * c.ratio; ++pos) take(pos, 0);
    }
    for (int pos = w * c.ratio; pos < (w + 1) * c.ratio; ++pos) take(pos, c.overlap ? 1 : 0);

    float* const out = exec.workspace(thread);
    exec.ops().pool({kv.data(), score.data(), n_slots, c.dim, out});
    exec.ops().rms_norm(out, c.norm, c.dim, rms_eps, out);
    std::array<float, kMaxPairs> cos;
    std::array<float, kMaxPairs> sin;
    rope.angles(w * c.ratio, cos.data(), sin.data());
    exec.ops().rope(out + c.dim - rope.rope_dim(), 1, 0, rope.rope_dim(), cos.data(), sin.data(),
                    false);
    encode_row(
        format, row_shape, out,
        is_entry ? segment.sequence->entry(layer, w) : segment.sequence->index_key(layer, w));
  });
}

void keep_inputs(const Compressor& c, const Segment& segment, int layer, CompressedRow row,
                 const float* inputs) {
  const int keep = c.overlap ? 2 * c.ratio : c.ratio;
  const size_t floats = 2 * static_cast<size_t>(c.width());
  for (int t = std::max(0, segment.n - keep); t < segment.n; ++t) {
    std::memcpy(state_row(segment, layer, row, segment.start + t),
                inputs + static_cast<size_t>(t) * floats, floats * sizeof(float));
  }
}

}  // namespace varve
