#include "cli/model_path.h"

#include <cstdio>
#include <filesystem>

namespace varve::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kBundled = "models/varve-tiny";

}  // namespace

Result<std::string> model_or_bundled(const std::string& given) {
  if (!given.empty()) return given;
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  for (fs::path folder = program.parent_path(); !folder.empty(); folder = folder.parent_path()) {
    for (const fs::path& candidate :
         {folder / ".." / "share" / "varve" / kBundled, folder / kBundled}) {
      if (!fs::exists(candidate / "config.json", error)) continue;
      const std::string path = fs::weakly_canonical(candidate, error).string();
      fmt::print(stderr, "varve: no model given: using the bundled varve-tiny ({})\n", path);
      return path;
    }
    if (folder == folder.root_path()) break;
  }
  return usage_error("no model given, and the bundled one ({}) is not beside the program",
                     kBundled);
}

std::string model_name(const std::string& path) {
  const fs::path normal = fs::path(path).lexically_normal();
  return (normal.has_filename() ? normal : normal.parent_path()).filename().string();
}

}  // namespace varve::cli
