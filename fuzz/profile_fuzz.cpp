// A profile from any text, over flags like those of a verb: an error with a message, or the flags
// have values that they take.
#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdlib>
#include <sstream>
#include <string>

#include "cli/profile_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  CLI::App verb;
  int threads = 1, sink = 0;
  std::string kv;
  verb.add_option("--threads", threads);
  verb.add_option("--kv-sink", sink)->check(CLI::Range(0, 128));
  verb.add_option("--kv", kv);
  std::istringstream text({reinterpret_cast<const char*>(data), size});
  const auto done =
      varve::cli::apply_profile(text, "fuzz.toml", verb, {"threads", "kv-sink", "kv", "chunk"});
  if (!done && done.error().message.empty()) std::abort();
  if (sink < 0 || sink > 128) std::abort();
  return 0;
}
