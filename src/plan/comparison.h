// What a token costs a model, and what it would cost with another kind of attention in the same
// place: bytes of the cache and FLOPs of decoding at a depth, by formula (spec 12).
#pragma once

#include <string>
#include <vector>

#include "kvcache/layout.h"
#include "models/model.h"

namespace varve {

/// What decoding a token multiplies in one layer's attention, by cached row that it meets.
struct LayerAttention {
  int n_heads = 0;
  int key_dim = 0;    // of the products of a head's query with a row,
  int value_dim = 0;  // and of what it gathers of it; of MLA absorbed: latents
  int window = 0;     // newest tokens, met whole; 0: none
  int ratio = 0;      // tokens per entry; 0: no entries
  int topk = 0;       // entries that the indexer picks; 0: all are met
  int index_n_heads = 0;
  int index_dim = 0;
  bool fp4_index = false;  // products of index keys are FP4, else FP8

  bool operator==(const LayerAttention&) const = default;
};

/// How much an operation counts against one of FP8. DeepSeek's report counts "equivalent FP8 FLOPs"
/// and does not give the weights; with these its 27 % and 10 % come out (spec 12.3). FP4 weights
/// meet FP8 inputs and count as FP8, as the report says; other weights count alike here, so that
/// what they are stored in does not enter the comparison.
inline constexpr double kWeightsCount = 1, kFp8IndexCount = 1, kFp4IndexCount = 0.5,
                        kBf16AttentionCount = 2;

/// Of one token; a multiply-add is two.
struct DecodeFlops {
  double weights = 0;
  double index = 0;
  double attention = 0;
  double fp8_equivalent = 0;  // their sum, each as it counts

  double sum() const { return weights + index + attention; }
};

/// A kind of attention with the bytes that its rows take.
struct AttentionVariant {
  std::string id;    // in JSON
  std::string text;  // for people, at most 24 columns
  double bytes_per_token = 0;
  double bytes_per_sequence = 0;  // windows and compressor inputs: as many at any depth
  std::vector<LayerAttention> layers = {};

  /// Of one sequence's rows, without tables.
  double cache_bytes(int ctx_tokens) const {
    return bytes_per_token * ctx_tokens + bytes_per_sequence;
  }
  /// Of the token that comes last in `ctx_tokens`. `active_params`: weights that a token is
  /// multiplied with (Model::decode_weight_macs()).
  DecodeFlops decode_flops(double active_params, int ctx_tokens) const;
};

/// The model's own, with rows in `formats`.
AttentionVariant own_attention(const Model& model, const PoolFormats& formats);

/// Others, of as many layers and query heads as the model's, rows as production keeps them:
///  - mha: a key and a value of every head, bf16;
///  - gqa_8: 8 KV heads of 128, bf16;
///  - mla: the latents of DeepSeek-V3, bf16;
///  - dsa: the same picked as in V3.2, FP8 beside FP8 index keys (656 + 132 bytes);
///  - csa_hca: V4-Flash's pattern of layers, native rows (584 + 68 bytes); not of a model of V4.
std::vector<AttentionVariant> other_attention(const Model& model);

/// DeepSeek-V3.2 as published, to hold all against: dsa in 61 layers of 128 heads.
AttentionVariant deepseek_v32_attention();

}  // namespace varve
