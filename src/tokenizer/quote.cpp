#include "tokenizer/quote.h"

#include <fmt/format.h>

#include <iterator>

#include "tokenizer/utf8.h"

namespace varve {

std::string in_quotes(std::string_view text, size_t max_bytes) {
  std::string out = "\"";
  size_t at = 0;
  while (at < text.size() && at < max_bytes) {
    const Utf8Step step = utf8_step(text.substr(at));
    const bool plain = step.kind == Utf8Step::Kind::character && step.code_point >= 0x20 &&
                       (step.code_point < 0x7F || step.code_point > 0x9F);
    for (size_t i = 0; i < step.n_bytes; ++i) {
      const char c = text[at + i];
      if (plain) {
        out.push_back(c);
      } else {
        fmt::format_to(std::back_inserter(out), "\\x{:02X}", static_cast<unsigned char>(c));
      }
    }
    at += step.n_bytes;
  }
  out.push_back('"');
  if (at < text.size()) out.append("...");
  return out;
}

}  // namespace varve
