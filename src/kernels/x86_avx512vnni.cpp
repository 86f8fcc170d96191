#include "kernels/x86_avx512vnni.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <algorithm>
#include <cstring>
#include <iterator>

#include "kernels/x86_avx512-inl.h"

#define VARVE_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi")))
#define VARVE_INLINE VARVE_TARGET inline __attribute__((always_inline))

namespace varve {
namespace {

// Keys of a vector of 32-bit lanes, and of a tile.
constexpr size_t kLanes = 16;
constexpr size_t kVectors = 2;
constexpr size_t kTileKeys = kVectors * kLanes;
// Heads that meet a tile side by side: with two vectors of keys that makes as many sums as leave
// registers for the rest.
constexpr size_t kHeads = 6;
constexpr size_t kMaxGroups = kMaxHeadDim / kE2m1Group;
constexpr size_t kGroupQuads = kE2m1Group / 4;  // steps of four dimensions
constexpr size_t kGroupBytes = kE2m1Group / 2;
constexpr size_t kChunkGroups = 64 / kGroupBytes;  // in 64 bytes of a row

// The instruction wants one side unsigned. Codes of keys, -12 to 12, become code + 16; what that
// adds to a group's dot, 16 times the sum of the query's codes, is taken off where the sum starts.
constexpr unsigned kKeyOffsetBits = 4;

struct Tile {
  alignas(64) uint8_t codes[kMaxGroups * kGroupQuads][kTileKeys][4];  // [quad][key][dim % 4]
  alignas(64) float scales[kMaxGroups][kTileKeys];
};

/// The scale bytes of up to four groups of 16 keys, a key a lane.
VARVE_INLINE __m512i load_scale_bytes(const uint8_t* const* keys, size_t at, size_t n) {
  alignas(64) uint32_t words[kLanes];
  for (size_t k = 0; k < kLanes; ++k) {
    if (n >= 4) {
      std::memcpy(&words[k], keys[k] + at, 4);
      continue;
    }
    words[k] = 0;
    for (size_t i = 0; i < n; ++i) words[k] |= uint32_t{keys[k][at + i]} << (8 * i);
  }
  return _mm512_load_si512(words);
}

/// As f32_from_e8m0 of bytes in 32-bit lanes.
VARVE_INLINE __m512 scales_of(__m512i bytes) {
  __m512i bits = _mm512_slli_epi32(bytes, 23);
  bits = _mm512_mask_mov_epi32(bits, _mm512_testn_epi32_mask(bytes, bytes),
                               _mm512_set1_epi32(0x00400000));
  bits = _mm512_mask_mov_epi32(bits, _mm512_cmpeq_epi32_mask(bytes, _mm512_set1_epi32(255)),
                               _mm512_set1_epi32(0x7FC00000));
  return _mm512_castsi512_ps(bits);
}

/// One vector of keys, v of the tile.
VARVE_INLINE void unpack_keys(const uint8_t* const* keys, size_t n_bytes, size_t n_groups, size_t v,
                              Tile& tile) {
  // Twice the e2m1 values, plus the offset; the lookup takes six bits, of which the upper two do
  // not matter.
  const __m512i table = _mm512_broadcast_i32x4(
      _mm_setr_epi8(16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4));
  // Each byte of a double word (four bytes of one key) that starts at these bits.
  const __m512i low = _mm512_set1_epi64(0x2C2824200C080400);
  const __m512i high = _mm512_set1_epi64(0x3C3834301C181410);
  for (size_t g0 = 0; g0 < n_groups; g0 += kChunkGroups) {
    const size_t begin = g0 * kGroupBytes;
    const size_t n = std::min(n_bytes - begin, size_t{64});
    const __mmask64 some = n == 64 ? ~__mmask64{0} : (__mmask64{1} << n) - 1;
    __m512i words[kLanes];
    for (size_t k = 0; k < kLanes; ++k) words[k] = _mm512_maskz_loadu_epi8(some, keys[k] + begin);
    transpose(words);
    const size_t n_here = std::min(n_groups - g0, kChunkGroups);
    const __m512i scale_bytes = load_scale_bytes(keys, n_bytes + g0, n_here);
    for (size_t i = 0; i < n_here; ++i) {
      const size_t g = g0 + i;
      for (size_t j = 0; j < kGroupQuads; ++j) {
        const __m512i nibbles =
            _mm512_multishift_epi64_epi8(j % 2 == 0 ? low : high, words[(i * kGroupQuads + j) / 2]);
        const __m512i codes = _mm512_permutexvar_epi8(nibbles, table);
        _mm512_store_si512(tile.codes[g * kGroupQuads + j][v * kLanes], codes);
      }
      const __m512i byte = _mm512_and_si512(
          _mm512_srl_epi32(scale_bytes, _mm_cvtsi32_si128(static_cast<int>(8 * i))),
          _mm512_set1_epi32(255));
      _mm512_store_ps(tile.scales[g] + v * kLanes, scales_of(byte));
    }
  }
}

/// Adds H heads to the tile's scores.
template <size_t H>
VARVE_TARGET void score_heads(const int8_t* q, const float* q_scales, const int32_t* q_sums,
                              const float* weights, size_t n_groups, const Tile& tile,
                              __m512* scores) {
  const size_t padded = n_groups * kE2m1Group;
  __m512 s[H][kVectors];
  for (auto& head : s) {
    for (auto& lanes : head) lanes = _mm512_setzero_ps();
  }
  for (size_t g = 0; g < n_groups; ++g) {
    __m512i sum[H][kVectors];
    for (size_t h = 0; h < H; ++h) {
      const __m512i offset =
          _mm512_slli_epi32(_mm512_set1_epi32(q_sums[h * n_groups + g]), kKeyOffsetBits);
      const __m512i start = _mm512_sub_epi32(_mm512_setzero_si512(), offset);
      for (auto& lanes : sum[h]) lanes = start;
    }
    const size_t first = g * kGroupQuads;
#pragma GCC unroll 8
    for (size_t j = first; j < first + kGroupQuads; ++j) {
      __m512i codes[kVectors];
      for (size_t v = 0; v < kVectors; ++v) {
        codes[v] = _mm512_load_si512(tile.codes[j][v * kLanes]);
        // Loaded once, not by every instruction that uses it: loads would be what binds.
        __asm__("" : "+v"(codes[v]));
      }
      for (size_t h = 0; h < H; ++h) {
        int quad;
        std::memcpy(&quad, q + h * padded + 4 * j, sizeof quad);
        const __m512i value = _mm512_set1_epi32(quad);
        for (size_t v = 0; v < kVectors; ++v) {
          sum[h][v] = _mm512_dpbusd_epi32(sum[h][v], codes[v], value);
        }
      }
    }
    for (size_t v = 0; v < kVectors; ++v) {
      const __m512 scale = _mm512_load_ps(tile.scales[g] + v * kLanes);
      for (size_t h = 0; h < H; ++h) {
        const __m512 both = _mm512_mul_ps(_mm512_set1_ps(q_scales[h * n_groups + g]), scale);
        s[h][v] = _mm512_add_ps(s[h][v], _mm512_mul_ps(_mm512_cvtepi32_ps(sum[h][v]), both));
      }
    }
  }
  for (size_t h = 0; h < H; ++h) {
    for (size_t v = 0; v < kVectors; ++v) {
      // A NaN counts as 0, as in std::max(0, s).
      const __m512 positive = _mm512_max_ps(s[h][v], _mm512_setzero_ps());
      scores[v] = _mm512_add_ps(scores[v], _mm512_mul_ps(_mm512_set1_ps(weights[h]), positive));
    }
  }
}

using ScoreFunction = void(const int8_t* q, const float* q_scales, const int32_t* q_sums,
                           const float* weights, size_t n_groups, const Tile& tile, __m512* scores);
constexpr ScoreFunction* kScoreHeads[] = {score_heads<1>, score_heads<2>, score_heads<3>,
                                          score_heads<4>, score_heads<5>, score_heads<6>};
static_assert(std::size(kScoreHeads) == kHeads);

VARVE_TARGET void index_scores_native(const IndexScoresNativeArgs& a) {
  const size_t stride = row_bytes(RowFormat::native, {a.dim, 0, true});
  const auto n_groups = static_cast<size_t>(index_groups(a.dim));
  const size_t n_bytes = stride - n_groups;
  const auto* const stored = reinterpret_cast<const uint8_t*>(a.keys);
  const auto n_heads = static_cast<size_t>(a.n_heads);
  Tile tile;  // what is not needed of it stays as it is
  for (int w = 0; w < a.n_keys; w += int{kTileKeys}) {
    const int n_keys = std::min(int{kTileKeys}, a.n_keys - w);
    const uint8_t* keys[kTileKeys];
    for (int k = 0; k < int{kTileKeys}; ++k) {  // the last key stands in for those behind it
      keys[k] = stored + static_cast<size_t>(w + std::min(k, n_keys - 1)) * stride;
    }
    for (size_t v = 0; v < kVectors; ++v) {
      unpack_keys(keys + v * kLanes, n_bytes, n_groups, v, tile);
    }
    for (size_t query = 0; query < static_cast<size_t>(a.n_queries); ++query) {
      __m512 scores[kVectors] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
      for (size_t h = 0; h < n_heads; h += kHeads) {
        const size_t row = query * n_heads + h;
        kScoreHeads[std::min(kHeads, n_heads - h) - 1](
            a.q + row * n_groups * kE2m1Group, a.q_scales + row * n_groups,
            a.q_sums + row * n_groups, a.weights + row, n_groups, tile, scores);
      }
      alignas(64) float out[kTileKeys];
      for (size_t v = 0; v < kVectors; ++v) _mm512_store_ps(out + v * kLanes, scores[v]);
      std::memcpy(a.scores + query * a.scores_stride + w, out,
                  static_cast<size_t>(n_keys) * sizeof(float));
    }
  }
}

}  // namespace

auto avx512vnni_index_scores() -> void (*)(const IndexScoresNativeArgs&) {
  const bool supported = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                         __builtin_cpu_supports("avx512vl") &&
                         __builtin_cpu_supports("avx512vnni") &&
                         __builtin_cpu_supports("avx512vbmi");
  return supported ? index_scores_native : nullptr;
}

}  // namespace varve

#else

namespace varve {
auto avx512vnni_index_scores() -> void (*)(const IndexScoresNativeArgs&) {
  return nullptr;
}
}  // namespace varve

#endif
