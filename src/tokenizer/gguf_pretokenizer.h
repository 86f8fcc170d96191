// The kinds of pre-tokenizer that GGUF files name (tokenizer.ggml.pre). The file has the name only;
// what it means is written down here.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "tokenizer/pretokenizer.h"

namespace varve {

struct GgufPre {
  std::string_view name;
  std::span<const std::string_view> patterns;  // each isolates its matches in what is left over
  bool ignore_merges = false;                  // a word that is a piece is not taken apart
  bool add_bos = false;                        // where the file does not say
};

/// All kinds.
std::span<const GgufPre> gguf_pres();

/// Null if there is no such kind.
const GgufPre* find_gguf_pre(std::string_view name);

/// The names, for messages.
std::string gguf_pre_names();

Result<Pretokenizer> make_pretokenizer(const GgufPre& pre, const std::string& where);

}  // namespace varve
