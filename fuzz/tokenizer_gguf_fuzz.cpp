// Any strings as the vocabulary of a GGUF. The first line names the kind of pre-tokenizer; then
// each line is a thing by its first character: b the 256 bytes, m a merge, s the id of bos, and
// others a token of the type that the character is as a digit.
#include <algorithm>

#include "tokenizer/gguf_vocabulary.h"
#include "tokenizer/test_spelt_bytes.h"
#include "use_tokenizer.h"

namespace {

void add_line(std::string_view line, varve::GgufVocabulary& vocabulary) {
  static const std::vector<std::string> bytes = varve::spelt_bytes();
  const std::string_view text = line.substr(1);
  switch (line[0]) {
    case 'b':
      for (const std::string& byte : bytes) {
        vocabulary.tokens.push_back(byte);
        vocabulary.token_types.push_back(static_cast<int32_t>(varve::GgufTokenType::normal));
      }
      break;
    case 'm':
      vocabulary.merges.push_back(text);
      break;
    case 's':
      vocabulary.special.bos = static_cast<uint32_t>(text.size());
      break;
    default:
      vocabulary.tokens.push_back(text);
      vocabulary.token_types.push_back(line[0] - '0');
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view left(reinterpret_cast<const char*>(data), size);
  const auto next_line = [&] {
    const std::string_view line = left.substr(0, left.find('\n'));
    left.remove_prefix(std::min(left.size(), line.size() + 1));
    return line;
  };
  varve::GgufVocabulary vocabulary;
  vocabulary.model = "gpt2";
  vocabulary.pre = next_line();
  while (!left.empty()) {
    const std::string_view line = next_line();
    if (!line.empty()) add_line(line, vocabulary);
  }
  varve::use_tokenizer(varve::Tokenizer::from_gguf(vocabulary, "fuzz.gguf"), size + 1);
  return 0;
}
