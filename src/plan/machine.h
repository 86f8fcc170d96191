// What a plan is made for: memory, and what is done in a second at most.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.h"
#include "kernels/roofs.h"

namespace varve {

/// How a figure is known.
enum class Known { exact, measured, assumed };
std::string_view known_name(Known known);

struct Machine {
  std::string name;
  Known known = Known::measured;
  Roofs roofs;
  size_t memory_bytes = 0;  // that a run may take
};

/// "gpu:BANDWIDTH,FLOPS,MEMORY": bytes and operations a second (two a multiply-add, whatever the
/// types), with an optional unit K M G T of 1000; bytes of memory with one of 1024. Example:
/// gpu:1008G,165T,24G. Errors (usage) say what was expected.
Result<Machine> parse_device(const std::string& text);

/// Bytes with an optional unit K M G T (KiB...), of 1024: "8G", "1.5GiB", "1000000".
Result<size_t> parse_bytes(std::string_view flag, const std::string& text);

}  // namespace varve
