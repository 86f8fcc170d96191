// Linear layers. One token reads weights once and widens them in registers (bound by memory);
// several decode a panel of rows to f32 and reuse it (bound by arithmetic). Both add up the same
// products in the same order.

#if defined(VARVE_SIMD_LINEAR_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef VARVE_SIMD_LINEAR_INL_H
#undef VARVE_SIMD_LINEAR_INL_H
#else
#define VARVE_SIMD_LINEAR_INL_H
#endif

#include "hwy/cache_control.h"
#include "kernels/simd_decode-inl.h"
#include "kernels/simd_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace varve {
namespace HWY_NAMESPACE {

// ---- one token

constexpr int kGemvRows = 4;

// How far ahead of its loads each row of a group is prefetched, in bytes: near the row's end that
// is the beginning of its place in the next group. Best of 256 to 4096 in kernels_bench, tokens:1.
constexpr size_t kPrefetchBytes = 4096;

HWY_INLINE void prefetch(const uint8_t* p, size_t ahead) {
  hwy::Prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(p) + ahead));
}

/// y[0, R) = rows r.. of w times x. scales: R rows of block scales times kFold, scale_stride apart;
/// null without scales. kBlock: columns of one scale where that is known, else 0. x_tail: the last
/// n_cols % kLanes values of x, padded with zeros.
template <class Codec, int R, size_t kBlock>
HWY_INLINE void gemv_rows(const Weight& w, int r, const float* x, const float* x_tail,
                          const float* scales, size_t scale_stride, float* y) {
  const auto n_cols = static_cast<size_t>(w.n_cols);
  const size_t n_full = n_cols / kLanes * kLanes;
  const size_t block = kBlock != 0         ? kBlock
                       : scales == nullptr ? n_cols
                                           : static_cast<size_t>(w.scale_cols);
  const size_t ahead = HWY_MIN(kPrefetchBytes, w.row_bytes);
  const size_t next_group = ahead + w.row_bytes * (kGemvRows - 1);
  const bool multiply = scales != nullptr || Codec::kFold != 1;
  const uint8_t* rows[R];
  VF sum[R][kParts];
  typename Codec::State state[R];
  for (int i = 0; i < R; ++i) {
    rows[i] = reinterpret_cast<const uint8_t*>(w.row(r + i));
    for (size_t part = 0; part < kParts; ++part) sum[i][part] = zero();
    state[i] = Codec::ready(Codec::kFold);
  }
  size_t offset = 0;
  for (size_t c = 0, b = 0; c < n_full; ++b) {
    if (scales != nullptr) {
      for (int i = 0; i < R; ++i) {
        state[i] = Codec::ready(scales[static_cast<size_t>(i) * scale_stride + b]);
      }
    }
    const size_t end = HWY_MIN(c + block, n_full);
    do {
      if (offset % 64 < Codec::kGroupBytes) {
        const size_t distance = offset + (offset + ahead < w.row_bytes ? ahead : next_group);
        for (int i = 0; i < R; ++i) prefetch(rows[i], distance);
      }
      for (int i = 0; i < R; ++i) {
        for (size_t part = 0; part < kParts; ++part) {
          const VF value = multiply ? Codec::scaled(rows[i] + offset, part, state[i])
                                    : Codec::at(rows[i] + offset, part);
          sum[i][part] = hn::MulAdd(value, load(x + c + part * kN), sum[i][part]);
        }
      }
      c += kLanes;
      offset += Codec::kGroupBytes;
    } while (c < end);
  }
  if (n_full < n_cols) {
    alignas(64) float tail[2 * kLanes];
    for (int i = 0; i < R; ++i) {
      decode_columns(w, r + i, static_cast<int>(n_full), w.n_cols, tail);
      for (size_t part = 0; part < kParts; ++part) {
        sum[i][part] = hn::MulAdd(load(tail + part * kN), load(x_tail + part * kN), sum[i][part]);
      }
    }
  }
  if constexpr (R == kGemvRows) {
    fold_lanes(sum[0], sum[1], sum[2], sum[3], y);
  } else {
    for (int i = 0; i < R; ++i) y[i] = fold_lanes(sum[i]);
  }
}

/// to[0, n) = the block scales of row r, times `fold`; false where one is not plain.
HWY_INLINE bool ready_scales(const Weight& w, int r, size_t n, float fold, float* to) {
  const std::byte* const from =
      w.scales + static_cast<size_t>((w.first_row + r) / w.scale_rows) * w.scale_row_bytes;
  if (w.scale_type == DType::f32) {
    bool plain = true;
    for (size_t b = 0; b < n; ++b) {
      float scale;
      std::memcpy(&scale, from + b * sizeof scale, sizeof scale);
      plain = plain && is_plain_scale(scale);
      to[b] = scale * fold;
    }
    return plain;
  }
  // Exponents: plain from 2^-100 to 2^100.
  const auto* const bytes = reinterpret_cast<const uint8_t*>(from);
  const hn::Rebind<uint8_t, DF> d8;
  const hn::RebindToSigned<DF> di;
  auto least = hn::Set(di, 127), most = hn::Set(di, 127);
  size_t b = 0;
  for (; b + kN <= n; b += kN) {
    const auto exponents = hn::PromoteTo(di, hn::LoadU(d8, bytes + b));
    least = hn::Min(least, exponents);
    most = hn::Max(most, exponents);
    store(hn::Mul(hn::BitCast(DF(), hn::ShiftLeft<23>(exponents)), set(fold)), to + b);
  }
  bool plain =
      hn::AllTrue(di, hn::And(hn::Gt(least, hn::Set(di, 26)), hn::Lt(most, hn::Set(di, 228))));
  for (; b < n; ++b) {
    plain = plain && bytes[b] >= 27 && bytes[b] <= 227;
    to[b] = f32_from_e8m0(bytes[b]) * fold;
  }
  return plain;
}

/// One row whose scales are not all plain.
HWY_NOINLINE HWY_MAYBE_UNUSED float gemv_decoded(const Weight& w, int r, const float* x,
                                                 const float* x_tail) {
  alignas(64) float decoded[256 + 2 * kLanes];
  VF sum[kParts];
  for (size_t part = 0; part < kParts; ++part) sum[part] = zero();
  for (int begin = 0; begin < w.n_cols; begin += 256) {
    const int end = HWY_MIN(begin + 256, w.n_cols);
    decode_columns(w, r, begin, end, decoded);
    for (int c = begin; c < end; c += static_cast<int>(kLanes)) {
      const float* const xc = c + static_cast<int>(kLanes) <= w.n_cols ? x + c : x_tail;
      for (size_t part = 0; part < kParts; ++part) {
        sum[part] =
            hn::MulAdd(load(decoded + (c - begin) + part * kN), load(xc + part * kN), sum[part]);
      }
    }
  }
  return fold_lanes(sum);
}

template <class Codec, size_t kBlock>
HWY_NOINLINE void gemv(const Weight& w, int row_begin, int row_end, const float* x, float* y,
                       float* workspace) {
  alignas(64) float x_tail[kLanes] = {};
  const auto n_cols = static_cast<size_t>(w.n_cols);
  const size_t n_full = n_cols / kLanes * kLanes;
  std::memcpy(x_tail, x + n_full, (n_cols - n_full) * sizeof(float));
  const bool scaled = w.scales != nullptr;
  const bool regular = !scaled || w.scale_cols % static_cast<int>(kLanes) == 0;
  const size_t n_scales =
      scaled && regular ? static_cast<size_t>((w.n_cols + w.scale_cols - 1) / w.scale_cols) : 0;
  for (int r = row_begin; r < row_end;) {
    const int n = HWY_MIN(kGemvRows, row_end - r);
    bool plain = regular;
    for (int i = 0; i < n && plain && scaled; ++i) {
      float* const to = workspace + static_cast<size_t>(i) * n_scales;
      if (i > 0 && (w.first_row + r + i) % w.scale_rows != 0) {
        std::memcpy(to, to - n_scales, n_scales * sizeof(float));
      } else {
        plain = ready_scales(w, r + i, n_scales, Codec::kFold, to);
      }
    }
    const float* const scales = scaled ? workspace : nullptr;
    if (!plain) {
      for (int i = 0; i < n; ++i) y[r + i] = gemv_decoded(w, r + i, x, x_tail);
    } else if (n == kGemvRows) {
      gemv_rows<Codec, kGemvRows, kBlock>(w, r, x, x_tail, scales, n_scales, y + r);
    } else {
      for (int i = 0; i < n; ++i) {
        const float* const row_scales =
            scaled ? workspace + static_cast<size_t>(i) * n_scales : nullptr;
        gemv_rows<Codec, 1, kBlock>(w, r + i, x, x_tail, row_scales, n_scales, y + r + i);
      }
    }
    r += n;
  }
}

// ---- one token, block types

/// Reads ahead for R rows as gemv_rows() does: what lies in bytes [offset, offset + n) of theirs.
template <int R>
HWY_INLINE void prefetch_rows(const Weight& w, const uint8_t* const* rows, size_t offset,
                              size_t n) {
  const size_t ahead = HWY_MIN(kPrefetchBytes, w.row_bytes);
  const size_t next_group = ahead + w.row_bytes * (kGemvRows - 1);
  for (size_t at = (offset + 63) / 64 * 64; at < offset + n; at += 64) {
    const size_t distance = at + (at + ahead < w.row_bytes ? ahead : next_group);
    for (int i = 0; i < R; ++i) prefetch(rows[i], distance);
  }
}

/// y[0, R) = rows r.. of w times x.
template <class Codec, int R>
HWY_INLINE void block_gemv_rows(const Weight& w, int r, const float* x, float* y) {
  const uint8_t* rows[R];
  VF sum[R][kParts];
  for (int i = 0; i < R; ++i) {
    rows[i] = reinterpret_cast<const uint8_t*>(w.row(r + i));
    for (size_t part = 0; part < kParts; ++part) sum[i][part] = zero();
  }
  for (size_t offset = 0; offset < w.row_bytes; offset += Codec::kBytes) {
    prefetch_rows<R>(w, rows, offset, Codec::kBytes);
    typename Codec::State state[R];
    for (int i = 0; i < R; ++i) Codec::ready(rows[i] + offset, state[i]);
    for (size_t group = 0; group < Codec::kGroups; ++group) {
      for (size_t half = 0; half < 2; ++half, x += kLanes) {
        for (int i = 0; i < R; ++i) {
          VF values[kParts];
          decode_half<Codec>(rows[i] + offset, state[i], group, half, values);
          for (size_t part = 0; part < kParts; ++part) {
            sum[i][part] = hn::MulAdd(values[part], load(x + part * kN), sum[i][part]);
          }
        }
      }
    }
  }
  for (int i = 0; i < R; ++i) y[i] = fold_lanes(sum[i]);
}

template <class Codec>
HWY_NOINLINE void block_gemv(const Weight& w, int row_begin, int row_end, const float* x,
                             float* y) {
  int r = row_begin;
  for (; r + kGemvRows <= row_end; r += kGemvRows) {
    block_gemv_rows<Codec, kGemvRows>(w, r, x, y + r);
  }
  for (; r < row_end; ++r) block_gemv_rows<Codec, 1>(w, r, x, y + r);
}

template <class Codec>
HWY_INLINE void linear_one(const Weight& w, int row_begin, int row_end, const float* x, float* y,
                           float* workspace) {
  if (w.scales != nullptr && w.scale_cols == 32) {
    gemv<Codec, 32>(w, row_begin, row_end, x, y, workspace);
  } else {
    gemv<Codec, 0>(w, row_begin, row_end, x, y, workspace);
  }
}

HWY_INLINE void linear_one(const Weight& w, int row_begin, int row_end, const float* x, float* y,
                           float* workspace) {
  switch (w.type) {
    case DType::f32:
      linear_one<CodecF32>(w, row_begin, row_end, x, y, workspace);
      break;
    case DType::bf16:
      linear_one<CodecBf16>(w, row_begin, row_end, x, y, workspace);
      break;
    case DType::f16:
      linear_one<CodecF16>(w, row_begin, row_end, x, y, workspace);
      break;
    case DType::f8_e4m3:
      linear_one<CodecE4m3>(w, row_begin, row_end, x, y, workspace);
      break;
    case DType::e2m1x2:
      linear_one<CodecE2m1>(w, row_begin, row_end, x, y, workspace);
      break;
    default:
      with_block_codec(
          w.type, [&](auto codec) { block_gemv<decltype(codec)>(w, row_begin, row_end, x, y); });
      break;
  }
}

// ---- several tokens

// Columns of a panel: a tile's rows of weights and inputs (10 x 4 KiB) fit a 48 KiB first-level
// cache.
constexpr int kPanelCols = 1024;
// Off a power of two, so that rows do not fall into the same cache sets; with room for what
// decode_columns writes too much.
constexpr size_t kPanelStride = kPanelCols + 32;
constexpr int kPanelRows = 32;
// Below this many tokens a panel is one tile high: it then stays in the first-level cache.
constexpr int kFewTokens = 2 * kTileTokens;
// Tokens whose sums wait in the workspace between panels of one row.
constexpr int kBlockTokens = kTileTokens * 22;

constexpr size_t kPanelFloats = kPanelStride * kPanelRows;
constexpr size_t kPackedFloats = kPanelStride * kTileTokens;
constexpr size_t kSumsFloats =
    kTileFloats * (kPanelRows / kTileRows) * (kBlockTokens / kTileTokens);
static_assert(kPanelFloats + kPackedFloats + kSumsFloats <= kWorkspaceFloats);

HWY_INLINE void pack_row(const float* from, size_t n, float* to) {
  copy_padded(from, n, to);
}

HWY_INLINE void pack_row(const uint16_t* from, size_t n, float* to) {
  const hn::Rebind<uint16_t, DF> d16;
  const hn::RebindToUnsigned<DF> d32;
  size_t i = 0;
  for (; i + kN <= n; i += kN) {
    store(hn::BitCast(DF(), hn::ShiftLeft<16>(hn::PromoteTo(d32, hn::LoadU(d16, from + i)))),
          to + i);
  }
  for (; i < n; ++i) to[i] = f32_from_bf16(from[i]);
  for (; i < round_up_lanes(n); ++i) to[i] = 0;
}

// Whether tiles may read x where it lies.
HWY_INLINE const float* in_place(const float* x) {
  return x;
}
HWY_INLINE const float* in_place(const uint16_t*) {
  return nullptr;
}

/// Args: LinearArgs or LinearBf16Args.
template <class Args>
HWY_INLINE void linear_many(const Args& a) {
  const Weight& w = *a.weight;
  float* const panel = a.workspace;
  float* const packed = panel + kPanelFloats;
  float* const all_sums = packed + kPackedFloats;
  const int panel_rows = a.n_tokens <= kFewTokens ? kTileRows : kPanelRows;
  for (int r0 = a.row_begin; r0 < a.row_end; r0 += panel_rows) {
    const int n_rows = HWY_MIN(panel_rows, a.row_end - r0);
    for (int t0 = 0; t0 < a.n_tokens; t0 += kBlockTokens) {
      const int t_end = HWY_MIN(t0 + kBlockTokens, a.n_tokens);
      for (int c0 = 0; c0 < w.n_cols; c0 += kPanelCols) {
        const int c_end = HWY_MIN(c0 + kPanelCols, w.n_cols);
        const bool first = c0 == 0, last = c_end == w.n_cols;
        const auto n = static_cast<size_t>(c_end - c0);
        for (int r = 0; r < n_rows; ++r) {
          decode_columns(w, r0 + r, c0, c_end, panel + static_cast<size_t>(r) * kPanelStride);
        }
        float* sums = all_sums;
        for (int t = t0; t < t_end; t += kTileTokens) {
          const int n_tokens = HWY_MIN(kTileTokens, t_end - t);
          const float* xs[kTileTokens];
          for (int i = 0; i < n_tokens; ++i) {
            const auto* const x =
                a.x + static_cast<size_t>(t + i) * a.x_stride + static_cast<size_t>(c0);
            xs[i] = n % kLanes == 0 ? in_place(x) : nullptr;
            if (xs[i] == nullptr) {
              float* const to = packed + static_cast<size_t>(i) * kPanelStride;
              pack_row(x, n, to);
              xs[i] = to;
            }
          }
          for (int r = 0; r < n_rows; r += kTileRows, sums += kTileFloats) {
            const int n_tile_rows = HWY_MIN(kTileRows, n_rows - r);
            const TileFunction tile = first ? tile_for<true>(n_tile_rows, n_tokens)
                                            : tile_for<false>(n_tile_rows, n_tokens);
            tile(panel + static_cast<size_t>(r) * kPanelStride, kPanelStride, xs, round_up_lanes(n),
                 sums);
            if (!last) continue;
            for (int i = 0; i < n_tokens; ++i) {
              float* const y =
                  a.y + static_cast<size_t>(t + i) * a.y_stride + static_cast<size_t>(r0 + r);
              const float* const from = sums + static_cast<size_t>(i) * kTileRows * kLanes;
              if (n_tile_rows == kTileRows) {
                fold_tile_row(from, y);
              } else {
                float folded[kTileRows];
                fold_tile_row(from, folded);
                for (int j = 0; j < n_tile_rows; ++j) y[j] = folded[j];
              }
            }
          }
        }
      }
    }
  }
}

HWY_NOINLINE HWY_MAYBE_UNUSED void linear(const LinearArgs& a) {
  if (a.n_tokens == 1) {
    linear_one(*a.weight, a.row_begin, a.row_end, a.x, a.y, a.workspace);
  } else {
    linear_many(a);
  }
}

/// As linear() over x widened to f32, bit for bit.
HWY_NOINLINE HWY_MAYBE_UNUSED void linear_bf16(const LinearBf16Args& a) {
  if (a.n_tokens == 1) {
    pack_row(a.x, static_cast<size_t>(a.weight->n_cols), a.workspace);
    linear_one(*a.weight, a.row_begin, a.row_end, a.workspace, a.y,
               a.workspace + round_up_lanes(static_cast<size_t>(a.weight->n_cols)));
  } else {
    linear_many(a);
  }
}
// One token's widened input and the scales of kGemvRows rows fit beside each other.
static_assert(kMaxColumns + kGemvRows * (kMaxColumns / kLanes + 1) <= kWorkspaceFloats);

}  // namespace HWY_NAMESPACE
}  // namespace varve
HWY_AFTER_NAMESPACE();

#endif  // VARVE_SIMD_LINEAR_INL_H
