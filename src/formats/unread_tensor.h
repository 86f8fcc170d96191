// A tensor of a known type that varve has no use for.
#pragma once

#include <string>

namespace varve {

/// U8, BOOL and others of safetensors; Q2_K, I8 and others of GGUF. Its place in the file is
/// checked like any other's; only reading it is an error.
struct UnreadTensor {
  std::string name;
  std::string dtype;
  std::string file;
};

}  // namespace varve
