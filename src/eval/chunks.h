// A text cut into chunks, each of which is read from an empty cache.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"

namespace varve {

struct TextChunks {
  std::vector<std::vector<int32_t>> chunks;  // all of one length, BOS included
  size_t n_left_over = 0;                    // ids at the end that fill no chunk

  size_t n_tokens() const { return chunks.empty() ? 0 : chunks.size() * chunks.front().size(); }
};

/// Chunks of exactly `chunk_tokens` tokens of `ids`, which are the model's, each with `bos_id` in
/// front where the model has one (not -1; a BOS at the start of `ids` is taken off first). Errors:
/// fewer than 2 tokens a chunk (usage), a text that does not fill one (bad_input).
Result<TextChunks> cut_chunks(std::span<const int32_t> ids, int chunk_tokens, int bos_id);

/// The length of the longest equal chunks of at most `max_tokens` that use (nearly) all of the
/// text: one chunk where it fits.
int even_chunk_tokens(std::span<const int32_t> ids, int max_tokens, int bos_id);

}  // namespace varve
