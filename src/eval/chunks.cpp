#include "eval/chunks.h"

#include <algorithm>

namespace varve {
namespace {

std::span<const int32_t> without_bos(std::span<const int32_t> ids, int bos_id) {
  return !ids.empty() && ids.front() == bos_id ? ids.subspan(1) : ids;
}

}  // namespace

Result<TextChunks> cut_chunks(std::span<const int32_t> ids, int chunk_tokens, int bos_id) {
  if (chunk_tokens < 2) {
    return usage_error("--ctx {}: expected chunks of at least 2 tokens: one to read, one to guess",
                       chunk_tokens);
  }
  ids = without_bos(ids, bos_id);
  const bool has_bos = bos_id >= 0;
  const size_t n = static_cast<size_t>(chunk_tokens) - (has_bos ? 1 : 0);
  if (ids.size() < n) {
    return bad_input("the text has {} tokens; expected at least {}, a chunk's worth (--ctx {}{})",
                     ids.size(), n, chunk_tokens, has_bos ? ", BOS included" : "");
  }
  TextChunks out;
  for (; ids.size() >= n; ids = ids.subspan(n)) {
    std::vector<int32_t>& chunk = out.chunks.emplace_back();
    chunk.reserve(static_cast<size_t>(chunk_tokens));
    if (has_bos) chunk.push_back(bos_id);
    chunk.insert(chunk.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(n));
  }
  out.n_left_over = ids.size();
  return out;
}

int even_chunk_tokens(std::span<const int32_t> ids, int max_tokens, int bos_id) {
  const size_t n_bos = bos_id >= 0 ? 1 : 0;
  const size_t n_ids = without_bos(ids, bos_id).size();
  const size_t most = std::max<size_t>(static_cast<size_t>(max_tokens), 2) - n_bos;
  const size_t n_chunks = std::max<size_t>(1, (n_ids + most - 1) / most);
  return static_cast<int>(n_ids / n_chunks + n_bos);
}

}  // namespace varve
