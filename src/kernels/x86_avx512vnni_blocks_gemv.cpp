#include "kernels/x86_avx512vnni_blocks.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include "kernels/x86_avx512vnni_blocks-inl.h"

namespace varve {
namespace {

// Columns of a strip at most: with the bytes that are read ahead, a part of the first cache.
constexpr size_t kChunkCols = 1024;
constexpr size_t kChunkUnit = 256;  // where a strip may begin, for every type

/// Where chunk i of n_chunks begins: chunks are about equally long, as each reads ahead for the
/// next.
VARVE_INLINE size_t chunk_begin(size_t n_cols, size_t n_chunks, size_t i) {
  const size_t n_units = (n_cols + kChunkUnit - 1) / kChunkUnit;
  return std::min(n_cols, n_units * i / n_chunks * kChunkUnit);
}

// Blocks worked on side by side, and units of a block: eight groups, enough to hide the latency of
// the dots.
template <class Codec>
constexpr int kBlocksAtOnce = Codec::kGroups == 1 ? 4 : 1;
template <class Codec>
constexpr int kUnitsAtOnce = Codec::kGroups == 1 ? 1 : 8 / Codec::kUnitGroups;

/// dots[group] += pair i of each of N units; x is the first group.
template <class Codec, int N, int k, int i>
VARVE_INLINE void dot_pairs(const typename Codec::Bytes* bytes, const InputGroup* x,
                            __m512i* dots) {
  constexpr int G = Codec::kUnitGroups, P = Codec::kPairs;
  if constexpr (i < G * P) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      const int group = n * G + i / P;
      dots[group] =
          dot_whole(dots[group], Codec::template pair<k, i>(bytes[n]),
                    broadcast_pair(x[group].values + column_of<Codec::kHalves>(k, i % P)));
    }
    dot_pairs<Codec, N, k, i + 1>(bytes, x, dots);
  }
}

/// Steps [k, end) of N units, units of B blocks each one after the other.
template <class Codec, int B, int N, int k, int end>
VARVE_INLINE void dot_steps(const __m512i* strip, size_t at, int unit, const InputGroup* x,
                            Ahead& ahead, __m512i* dots) {
  if constexpr (k < end) {
    constexpr int U = N / B;
    constexpr size_t kStepBytes = N * Codec::kBytes * kLaneRows * Codec::kUnitGroups /
                                  (Codec::kGroups * Codec::kSteps) * kLinesInDots / 4;
    ahead.template fetch<(kStepBytes + Ahead::kLineBytes - 1) / Ahead::kLineBytes>();
    typename Codec::Bytes bytes[N];
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      bytes[n].template load<k>(strip, at + static_cast<size_t>(n / U) * Codec::kBytes,
                                unit + n % U);
    }
    dot_pairs<Codec, N, k, 0>(bytes, x, dots);
    dot_steps<Codec, B, N, k + 1, end>(strip, at, unit, x, ahead, dots);
  }
}

/// sum += B blocks at byte `at` of the strip times x.
template <class Codec, int B>
VARVE_INLINE __m512 dot_blocks(const __m512i* strip, size_t at, const InputGroup* x, Ahead& ahead,
                               __m512 sum) {
  constexpr int kUnits = Codec::kGroups / Codec::kUnitGroups, U = kUnitsAtOnce<Codec>;
  constexpr int N = B * U, kGroupsAtOnce = N * Codec::kUnitGroups, S = Codec::kScales;
  static_assert(B == 1 || kUnits == 1);
  for (int unit = 0; unit < kUnits; unit += U) {
    __m512i dots[S][kGroupsAtOnce];
#pragma GCC unroll 16
    for (int i = 0; i < S * kGroupsAtOnce; ++i)
      dots[i / kGroupsAtOnce][i % kGroupsAtOnce] = _mm512_setzero_si512();
    dot_steps<Codec, B, N, 0, Codec::kSteps / S>(strip, at, unit, x, ahead, dots[0]);
    if constexpr (S == 2) {
      dot_steps<Codec, B, N, Codec::kSteps / S, Codec::kSteps>(strip, at, unit, x, ahead,
                                                               dots[S - 1]);
    }
#pragma GCC unroll 8
    for (int b = 0; b < B; ++b) {
      const typename Codec::Scales of_block(strip, at + static_cast<size_t>(b) * Codec::kBytes);
      constexpr int kOfBlock = kGroupsAtOnce / B;
#pragma GCC unroll 8
      for (int i = 0; i < kOfBlock; ++i) {
        const int group = unit * Codec::kUnitGroups + i;
        const InputGroup& inputs = x[b * kOfBlock + i];
        const __m512 scale = _mm512_set1_ps(inputs.scale);
#pragma GCC unroll 2
        for (int s = 0; s < S; ++s) {
          sum = add_scaled(sum, dots[s][b * kOfBlock + i], of_block.scales[group * S + s], scale);
        }
        if constexpr (Codec::kHasMinimum) {
          sum = _mm512_fmadd_ps(of_block.minima[group], _mm512_set1_ps(inputs.sum), sum);
        }
      }
    }
    x += kGroupsAtOnce;
  }
  return sum;
}

/// sum += blocks [b, n_blocks) of a strip times x, B at a time and then those that are left.
template <class Codec, int B>
VARVE_INLINE __m512 dot_strip(const __m512i* strip, size_t b, size_t n_blocks, const InputGroup* x,
                              Ahead& ahead, __m512 sum) {
  for (; b + B <= n_blocks; b += B) {
    sum = dot_blocks<Codec, B>(strip, b * Codec::kBytes, x + b * Codec::kGroups, ahead, sum);
  }
  if constexpr (B > 1) return dot_strip<Codec, B / 2>(strip, b, n_blocks, x, ahead, sum);
  return sum;
}

constexpr size_t kMaxStrip = strip_vectors(bytes_of<Q8Lanes>(kChunkCols));  // the longest

template <class Codec>
struct Gemv {
  VARVE_TARGET static void run(const LinearBlocksArgs& a) {
    const Weight& w = *a.weight;
    const auto n_cols = static_cast<size_t>(w.n_cols);
    const size_t n_chunks = (n_cols + kChunkCols - 1) / kChunkCols;
    alignas(64) __m512i strip[kMaxStrip];
    for (int r = a.row_begin; r < a.row_end; r += kLaneRows) {
      const int n_rows = std::min(kLaneRows, a.row_end - r);
      const uint8_t* rows[kLaneRows];
      rows_of(w, r, n_rows, rows);
      Ahead ahead(w, r + kLaneRows, std::min(r + 2 * kLaneRows, a.row_end));
      __m512 sum = _mm512_setzero_ps();
      for (size_t i = 0; i < n_chunks; ++i) {
        const size_t c = chunk_begin(n_cols, n_chunks, i);
        const size_t n = chunk_begin(n_cols, n_chunks, i + 1) - c;
        load_strip(rows, bytes_of<Codec>(c), bytes_of<Codec>(n), w.row_bytes, ahead, strip);
        sum = dot_strip<Codec, kBlocksAtOnce<Codec>>(strip, 0, n / (kGroupCols * Codec::kGroups),
                                                     a.x + c / kGroupCols, ahead, sum);
      }
      _mm512_mask_storeu_ps(a.y + r, lanes_of(n_rows), sum);
    }
  }
};

}  // namespace

void gemv_blocks_avx512vnni(const LinearBlocksArgs& a) {
  with_lanes<Gemv>(a.weight->type, a);
}

}  // namespace varve

#endif
