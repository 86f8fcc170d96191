// Any bytes as a tokenizer.json.
#include "use_tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  varve::use_tokenizer(varve::Tokenizer::parse(json, "fuzz.json"), size);
  return 0;
}
