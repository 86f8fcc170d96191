#include "tokenizer/tokenizer.h"
#include "tokenizer/tokenizer_parts.h"
#include "tokenizer/utf8.h"

namespace varve {

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer) : parts_(tokenizer.parts_.get()) {}

std::string StreamDecoder::push(int32_t id) {
  std::string text;
  append_lossy(parts_->file.vocabulary.bytes_of(id), held_, text);
  return text;
}

std::string StreamDecoder::finish() {
  std::string text;
  finish_lossy(held_, text);
  return text;
}

}  // namespace varve
