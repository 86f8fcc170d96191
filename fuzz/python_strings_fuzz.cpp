// Any bytes as a Python module with a text in it: it is found or refused with a sentence, and as a
// template it is filled in or refused.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "chat/deepseek_v4_texts.h"
#include "chat/python_strings.h"
#include "tokenizer/utf8.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const auto text = varve::python_string(source, "A", "fuzz.py");
  if (!text) {
    require(text.error().kind == varve::ErrorKind::bad_input);
    require(text.error().message.starts_with("fuzz.py: "));
    return 0;
  }
  if (!text->has_value()) return 0;
  require(varve::is_utf8(**text));
  // An escape takes more bytes than its character.
  require((*text)->size() < size);
  const auto filled = varve::fill_in(**text, {{"x", "{x}"}, {"", ""}});
  if (!filled) require(filled.error().kind == varve::ErrorKind::bad_input);
  return 0;
}
