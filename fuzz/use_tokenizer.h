// What a fuzzed tokenizer has to hold to: it is refused with a sentence, or encodes and decodes.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace varve {

inline void require(bool holds) {
  if (!holds) std::abort();
}

/// `max_piece_bytes`: of what was read.
inline void use_tokenizer(const Result<Tokenizer>& tokenizer, size_t max_piece_bytes) {
  using namespace std::string_view_literals;
  if (!tokenizer) {
    require(tokenizer.error().kind == ErrorKind::bad_input);
    require(!tokenizer.error().message.empty());
    return;
  }
  for (const std::string_view text :
       {"aab  a1\n <t> \xC3\xA9\xE4\xB8\xAD\xF0\x9F\x98\x80 bab"sv, "\xFF\xC3 \x00 t"sv}) {
    const auto ids = tokenizer->encode(text);
    if (!ids) {
      require(ids.error().kind == ErrorKind::bad_input);
      continue;
    }
    StreamDecoder decoder(*tokenizer);
    std::string streamed;
    for (const int32_t id : *ids) {
      require(id >= 0 && id < tokenizer->vocab_size());
      streamed += decoder.push(id);
    }
    streamed += decoder.finish();
    require(streamed == tokenizer->decode(*ids));
  }
  // Ids that encode() may never give.
  std::vector<int32_t> all = {-1, tokenizer->vocab_size()};
  for (int32_t id = 0; id < tokenizer->vocab_size() && id < 64; ++id) {
    all.push_back(id);
    const std::string_view piece = tokenizer->piece(id);
    require(piece.size() <= max_piece_bytes);
    static_cast<void>(tokenizer->is_special(id));
    static_cast<void>(tokenizer->id_of(piece));
  }
  static_cast<void>(tokenizer->decode(all));
}

}  // namespace varve
