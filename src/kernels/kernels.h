// The op table: every computation of a forward pass that differs between back ends.
//
// An op runs on one thread over the part that it is given; Exec (exec.h) splits work over threads.
// Laws that every implementation keeps (docs/ARCHITECTURE.md, "Numbers"):
//  - an output element is a function of its own inputs and the op's arguments, never of how many
//    rows, tokens or heads the call holds: any split of a call gives the same bits;
//  - sums are f32, in an order that is fixed by the length of the sum alone.
// Implementations may order their sums differently from each other, so two kernel sets agree
// closely but not in every bit.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"
#include "tensor/row_format.h"
#include "tensor/weight.h"

namespace varve {

/// y[t, r] = sum over c of weight[r, c] * x[t, c], for r in [row_begin, row_end). The NaN codes of
/// e4m3 may read as +-480.
struct LinearArgs {
  const Weight* weight;
  int row_begin, row_end;
  const float* x;  // [n_tokens, n_cols], rows x_stride floats apart
  size_t x_stride;
  int n_tokens;
  float* y;  // [n_tokens, n_rows], rows y_stride floats apart
  size_t y_stride;
  float* workspace;  // kWorkspaceFloats of this thread
};

/// linear() over inputs that were rounded to bf16. Products are exact, sums f32. Weights of f8,
/// e2m1 and bf16 under power-of-two scales are bf16 numbers too; others enter as f32. Of block
/// types (tensor/blocks.h) a set may multiply the codes instead, and apply scales to the sums of as
/// many columns as they belong to, minima to sums of inputs: no weight is rounded to bf16.
struct LinearBf16Args {
  const Weight* weight;
  int row_begin, row_end;
  const uint16_t* x;  // [n_tokens, n_cols] bf16, rows x_stride values apart
  size_t x_stride;
  int n_tokens;
  float* y;  // [n_tokens, n_rows], rows y_stride floats apart
  size_t y_stride;
  float* workspace;  // kWorkspaceFloats of this thread
};

/// 32 inputs as whole numbers: scale * values, which are x / scale rounded to the nearest and even.
/// The scale is the largest magnitude / 32767. Numbers are zero where all are below 2^-100; the
/// scale is NaN where one is infinite or NaN.
struct InputGroup {
  static constexpr int kSize = 32;
  int16_t values[kSize];
  float scale;
  float sum;  // scale * the sum of values
};

/// linear() of block types over groups of inputs: dots of codes and values are exact, then scales
/// and minima are applied in f32.
struct LinearBlocksArgs {
  const Weight* weight;
  int row_begin, row_end;
  const InputGroup* x;  // [n_tokens, n_cols / 32], rows x_stride groups apart
  size_t x_stride;
  int n_tokens;
  float* y;  // [n_tokens, n_rows], rows y_stride floats apart
  size_t y_stride;
  float* workspace;  // kWorkspaceFloats of this thread
};

/// One stored row, and how it is stored: the window and the entries may differ.
struct AttendRow {
  const std::byte* bytes;
  RowFormat format;
};

/// How inputs enter products: as they are, or rounded to bf16 first (to InputGroups for block types
/// where a set has linear_blocks). Sums are f32 either way.
enum class Products { f32, bf16 };

/// What a set multiplies rows of the cache by: f32 numbers, bf16 dots, dots of bytes (two for a
/// value). Not in silence: the closing line of `run` and the costs of `bench` name it.
enum class RowDots { f32, bf16, int8 };
std::string_view row_dots_name(RowDots dots);

/// One query's attention over the rows it may see, K = V (spec 4.4): per head h
///   s_k = scale * (q_h . row_k),  m = max_k s_k,
///   out_h = sum_k exp(s_k - m) row_k / (sum_k exp(s_k - m) + exp(sink_h - m)).
/// With `max` and `sum` the rows are a part of what the query sees: these take m and the sum of
/// exp(s_k - m), out is not divided, sinks stay out.
/// Rows are taken in the order given, in tiles of kAttendTile with one running maximum. With bf16
/// products q and, where they multiply a row, the exp(s_k - m) are rounded to bf16; rows are what
/// their format says: bf16, native and fp8 rows are bf16 numbers already, rows in groups may be
/// rounded to them.
struct AttendArgs {
  const float* q;  // [n_heads, head_dim]
  int n_heads;
  int head_dim;
  int rope_dim;
  const AttendRow* rows;  // n_rows >= 1 of them
  int n_rows;
  float scale;
  const float* sinks;  // [n_heads], not scaled
  float* out;          // [n_heads, head_dim]; may be q
  Products products;
  float* workspace;      // kWorkspaceFloats of this thread
  float* max = nullptr;  // [n_heads]; both or neither
  float* sum = nullptr;
};

/// Rows of one KV head at neighbouring positions: a run of them (tensor/kv_tile.h).
struct KvRun {
  const std::byte* keys;
  const std::byte* values;
};

/// Attention of the heads that share one KV head, of several queries at neighbouring positions:
/// query i stands at position + i and sees the positions up to its own, with a window the last
/// `window` of them; of these, those from `first` on, and not its own and the ones right before it,
/// `lag` of them. Only the part of it that lies in [begin, end), as a running softmax leaves it:
///   max = max_k s_k, sum = sum_k exp(s_k - max), values = sum_k exp(s_k - max) v_k,
/// s_k = scale * (q . k_k). Rows are taken by position, in tiles of kAttendTile positions that
/// begin at multiples of it; products as in AttendArgs, but that with bf16 products rows in groups
/// may meet q and exp(s_k - max) rounded to 16-bit integers, a scale a head, in exact dots. A query
/// that sees nothing there has max -inf, sum 0, values 0.
struct AttendKvArgs {
  const float* q;  // [n_queries, n_heads, head_dim], queries q_stride floats apart
  size_t q_stride;
  int n_queries;
  int n_heads;
  int head_dim;
  int position;  // of the first query
  int window;    // 0: all positions
  int first;
  int lag;
  int begin, end;     // positions; begin is a multiple of kAttendTile
  const KvRun* runs;  // run i holds positions [(first_run + i) * run_rows, ... + run_rows)
  int first_run;
  int run_rows;  // a multiple of kAttendTile
  RowFormat k_format, v_format;
  float scale;
  Products products;
  float* max;        // [n_queries, n_heads]
  float* sum;        // [n_queries, n_heads]
  float* values;     // [n_queries, n_heads, head_dim]
  float* workspace;  // kWorkspaceFloats of this thread

  /// Positions that query i sees here: [first_seen(i), end_seen(i)), none where that is empty.
  int first_seen(int i) const {
    const int of_window = window == 0 ? 0 : position + i - window + 1;
    return std::max({of_window, first, begin});
  }
  int end_seen(int i) const { return std::min(position + i + 1 - lag, end); }
};

/// Lightning Indexer (spec 6): scores[w] = sum over h of weights[h] * max(0, q_h . keys_w),
/// heads in ascending order.
struct IndexScoresArgs {
  const float* q;        // [n_heads, dim]
  const float* weights;  // [n_heads]
  int n_heads;
  int dim;
  const float* keys;  // [n_keys, dim], dense
  int n_keys;
  float* scores;  // [n_keys]
};

/// The same over native keys (row_format.h), for several queries: with q and keys in twice the e2m1
/// values,
///   s_h = sum over groups g ascending of float(codes_h,g . key codes_g) * (q_scales[h, g] * key
///   scale_g), scores[w] = sum over h ascending of weights[h] * max(0, s_h),
/// every product and sum a rounding of its own (no fused multiply-add). The inner dots are exact,
/// so every kernel set and machine gives the same bits.
struct IndexScoresNativeArgs {
  const int8_t* q;        // [n_queries, n_heads, index_padded(dim)]
  const float* q_scales;  // [n_queries, n_heads, index_groups(dim)]
  const int32_t* q_sums;  // [n_queries, n_heads, index_groups(dim)]: sums of a group's codes
  const float* weights;   // [n_queries, n_heads]
  int n_queries;
  int n_heads;
  int dim;
  const std::byte* keys;  // [n_keys], row_bytes apart
  int n_keys;
  float* scores;  // [n_queries, n_keys], rows scores_stride floats apart
  size_t scores_stride;
};

/// Compressor (spec 5): out[d] = sum over slots of softmax(score[., d])[slot] * kv[slot, d], each
/// channel by itself, slots in the order given.
struct PoolArgs {
  const float* const* kv;     // n_slots pointers to dim floats
  const float* const* score;  // n_slots pointers to dim floats
  int n_slots;
  int dim;
  float* out;  // [dim]
};

/// One token's hyper-connection coefficients from its projection (spec 7.2).
struct HcCoefficientsArgs {
  const float* mix;    // [(2 + hc) * hc], already times rsqrt
  const float* scale;  // [3]: pre, post, comb
  const float* base;   // [(2 + hc) * hc]
  int hc;
  int iterations;
  float eps;
  float* pre;   // [hc]
  float* post;  // [hc]
  float* comb;  // [hc, hc], row j = from stream, column k = to stream
};

/// Floats of workspace that each thread hands to an op (fastest on a cache line's start).
inline constexpr size_t kWorkspaceFloats = size_t{1} << 18;
/// Rows of one step of the running softmax.
inline constexpr int kAttendTile = 64;
/// Dimensions of an attention head at most; checked when a model is loaded.
inline constexpr int kMaxHeadDim = 2048;
/// Residual streams at most; checked when a model is loaded.
inline constexpr int kMaxStreams = 64;
/// Columns of a weight at most; checked when a model is loaded.
inline constexpr int kMaxColumns = 1 << 17;

struct Kernels {
  std::string_view name;         // "ref", "simd", ...: what VARVE_KERNELS takes
  std::string_view description;  // for people, e.g. the instruction set in use

  void (*linear)(const LinearArgs&);
  void (*linear_bf16)(const LinearBf16Args&);
  void (*attend)(const AttendArgs&);
  void (*attend_kv)(const AttendKvArgs&);
  /// What attend() over rows of this format alone, and of bf16, comes down to.
  RowDots (*row_dots)(RowFormat format, Products products);
  /// The same of attend_kv(): of keys and of values.
  std::array<RowDots, 2> (*kv_dots)(RowFormat k, RowFormat v, Products products);
  void (*index_scores)(const IndexScoresArgs&);
  void (*index_scores_native)(const IndexScoresNativeArgs&);
  void (*pool)(const PoolArgs&);
  /// y = x * rsqrt(mean(x^2) + eps) [* weight]; weight may be null, y may be x.
  void (*rms_norm)(const float* x, const float* weight, int n, float eps, float* y);
  /// 1 / sqrt(mean(x^2) + eps)
  float (*inverse_rms)(const float* x, int n, float eps);
  /// Rotates pairs (x[2i], x[2i+1]) by angle i, i < rope_dim / 2, in each of n_vectors vectors that
  /// lie `stride` floats apart; `inverse` turns back. x points at the first rotated value.
  void (*rope)(float* x, int n_vectors, size_t stride, int rope_dim, const float* cos,
               const float* sin, bool inverse);
  /// The same over pairs (x[i], x[i + rope_dim / 2]).
  void (*rope_halves)(float* x, int n_vectors, size_t stride, int rope_dim, const float* cos,
                      const float* sin);
  /// out = silu(min(gate, limit)) * clamp(up, -limit, limit) * scale; limit 0: no clamp. out may be
  /// gate.
  void (*swiglu)(const float* gate, const float* up, int n, float limit, float scale, float* out);
  void (*hc_coefficients)(const HcCoefficientsArgs&);
  /// y[d] = sum over j of pre[j] * streams[j, d]
  void (*hc_collapse)(const float* streams, const float* pre, int hc, int dim, float* y);
  /// streams[k, d] = post[k] * y[d] + sum over j of comb[j, k] * streams[j, d], in place (spec 7.3)
  void (*hc_expand)(float* streams, const float* y, const float* post, const float* comb, int hc,
                    int dim);
  /// y += x
  void (*add)(float* y, const float* x, int n);
  /// y = x rounded to bf16, to the nearest and to even. Every set gives the same bits.
  void (*round_bf16)(const float* x, size_t n, uint16_t* y);
  /// Both or neither: where they are null, bf16 products of block types are those of linear_bf16.
  void (*linear_blocks)(const LinearBlocksArgs&) = nullptr;
  /// y[0, n / 32) = x[0, n)
  void (*group_inputs)(const float* x, size_t n, InputGroup* y) = nullptr;
};

/// Plain loops that read like the equations: what every other set is tested against.
const Kernels& ref_kernels();

/// Every set that runs on this machine, slowest first.
std::span<const Kernels* const> available_kernels();

/// The set that `name` asks for; empty: the fastest. Errors (usage) name the sets that there are.
Result<const Kernels*> select_kernels(std::string_view name);

/// select_kernels by the environment variable VARVE_KERNELS.
Result<const Kernels*> select_kernels_from_environment();

}  // namespace varve
